package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// store is one make of store that can be started here.
type store struct {
	name    string // at the command line and in the data
	title   string // on the page
	install string // how to get it
	// command serves. DIR, PORT, KEY and SECRET stand for what differs from run to run; DIR has the directories data and
	// versions. env is what it needs beside it.
	command string
	env     []string
	// version prints the version as its last word. Empty: Go built the program, and tells.
	version []string
	key     string // the one key pair that it knows, both halves alike; empty: any
	// start takes the place of command, for a store that needs more than one program, which are named here.
	start    func(context.Context, *site) (endpoint string, err error)
	programs []string
}

// missing names a program that s needs and this machine has not.
func (s store) missing() string {
	programs := s.programs
	if s.start == nil {
		programs = []string{s.program()}
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil && p != ours {
			return p
		}
	}
	return ""
}

// thisVersion stands for the embedded store's: whatever was built.
const thisVersion = "this version"

// ours is the program that is built for the measurement.
const ours = "statelatch"

// known are the stores, in the order of the page.
var known = []store{
	{
		name: "embedded", title: "embedded (`statelatch serve`)", install: "part of statelatch",
		command: ours + " serve -data DIR/data -addr 127.0.0.1:PORT",
		env:     []string{"STATELATCH_ACCESS_KEY_ID=KEY", "STATELATCH_SECRET_ACCESS_KEY=SECRET"},
	},
	{
		name: "ceph", title: "Ceph RGW, one OSD in memory", install: "Debian packages ceph-mon ceph-mgr ceph-osd radosgw",
		start: startCeph, programs: []string{"ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "radosgw", "radosgw-admin"},
		version: []string{"sh", "-c", "radosgw --version | cut -d' ' -f3"},
	},
	{
		name: "gofakes3", title: "gofakes3, in memory",
		install: "go install github.com/johannesboyne/gofakes3/cmd/gofakes3@latest",
		command: "gofakes3 -backend memory -host 127.0.0.1:PORT",
	},
	{
		name: "minio", title: "MinIO, last open source", install: "go install github.com/minio/minio@latest",
		command: "minio server --address 127.0.0.1:PORT DIR/data",
		env:     []string{"MINIO_ROOT_USER=KEY", "MINIO_ROOT_PASSWORD=SECRET", "MINIO_BROWSER=off", "MINIO_UPDATE=off"},
	},
	{
		name: "moto", title: "moto", install: "pip install 'moto[server]'",
		command: "moto_server -H 127.0.0.1 -p PORT",
		version: []string{"python3", "-c", "import importlib.metadata as m; print(m.version('moto'))"},
	},
	{
		name: "rclone", title: "rclone serve s3", install: "go install github.com/rclone/rclone@latest",
		command: "rclone serve s3 --addr 127.0.0.1:PORT --auth-key KEY,SECRET DIR/data",
	},
	{
		name: "s3rver", title: "s3rver", install: "npm install -g s3rver", version: []string{"s3rver", "--version"},
		key:     "S3RVER",
		command: "s3rver -d DIR/data -a 127.0.0.1 -p PORT --no-vhost-buckets",
	},
	{
		name: "versitygw", title: "versitygw, posix", install: "go install github.com/versity/versitygw/cmd/versitygw@latest",
		command: "versitygw --port 127.0.0.1:PORT --access KEY --secret SECRET posix --versioning-dir DIR/versions DIR/data",
	},
}

// program is the one that serves.
func (s store) program() string { return strings.Fields(s.command)[0] }

// versionOf asks a store's program, or reads what Go left in it.
func (s *site) versionOf(ctx context.Context, of store) (string, error) {
	if len(of.version) > 0 {
		out, err := s.output(ctx, nil, of.version[0], of.version[1:]...)
		words := strings.Fields(out)
		if err != nil || len(words) == 0 {
			return "", errors.Join(err, fmt.Errorf("%q: it printed %q", of.version, out))
		}
		return words[len(words)-1], nil
	}
	if of.program() == ours {
		return thisVersion, nil
	}
	path, err := exec.LookPath(of.program())
	if err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	return info.Main.Version, nil
}

// start starts a store.
func (s *site) start(ctx context.Context, it store) (endpoint string, err error) {
	if it.start != nil {
		return it.start(ctx, s)
	}
	if it.key != "" {
		s.access, s.secret = it.key, it.key
	}
	if err := s.mkdir("data", "versions"); err != nil {
		return "", err
	}
	port, err := s.port(ctx)
	if err != nil {
		return "", err
	}
	values := strings.NewReplacer("DIR", s.dir, "PORT", port, "KEY", s.access, "SECRET", s.secret)
	var env []string
	for _, assignment := range it.env {
		name, value, _ := strings.Cut(assignment, "=")
		env = append(env, name+"="+values.Replace(value))
	}
	args := strings.Fields(it.command)
	for i, arg := range args {
		args[i] = values.Replace(arg)
	}
	program := args[0]
	if program == ours {
		program = s.statelatch
	}
	return s.serve(ctx, env, port, program, args[1:]...)
}
