package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"strings"
)

// store is one make of store that can be started here.
type store struct {
	name     string // at the command line and in the data
	title    string // on the page
	install  string // how to get it
	programs []string
	version  func(context.Context, *site) (string, error)
	start    func(context.Context, *site) (endpoint string, err error)
}

// missing names a program that s needs and this machine has not.
func (s store) missing() string {
	for _, p := range s.programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}

// thisVersion stands for the embedded store's: whatever was built.
const thisVersion = "this version"

// known are the stores, in the order of the page.
var known = []store{
	{
		name: "embedded", title: "embedded (`statelatch serve`)", install: "part of statelatch",
		version: func(context.Context, *site) (string, error) { return thisVersion, nil },
		start: func(ctx context.Context, s *site) (string, error) {
			port, err := s.port(ctx)
			if err != nil {
				return "", err
			}
			return s.serve(ctx, []string{"STATELATCH_ACCESS_KEY_ID=" + s.access, "STATELATCH_SECRET_ACCESS_KEY=" + s.secret},
				port, s.statelatch, "serve", "-data", s.dir+"/data", "-addr", "127.0.0.1:"+port)
		},
	},
	{
		name: "ceph", title: "Ceph RGW, one OSD in memory", install: "Debian packages ceph-mon ceph-mgr ceph-osd radosgw",
		programs: []string{"ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "radosgw", "radosgw-admin"},
		version: func(ctx context.Context, s *site) (string, error) {
			return word(2)(s.output(ctx, nil, "radosgw", "--version"))
		},
		start: startCeph,
	},
	{
		name: "gofakes3", title: "gofakes3, in memory", install: goInstall("github.com/johannesboyne/gofakes3/cmd/gofakes3"),
		programs: []string{"gofakes3"}, version: goVersion("gofakes3"),
		start: func(ctx context.Context, s *site) (string, error) {
			port, err := s.port(ctx)
			if err != nil {
				return "", err
			}
			return s.serve(ctx, nil, port, "gofakes3", "-backend", "memory", "-host", "127.0.0.1:"+port)
		},
	},
	{
		name: "minio", title: "MinIO, last open source", install: goInstall("github.com/minio/minio"),
		programs: []string{"minio"}, version: goVersion("minio"),
		start: func(ctx context.Context, s *site) (string, error) {
			port, err := s.port(ctx)
			if err != nil {
				return "", err
			}
			return s.serve(ctx, []string{"MINIO_ROOT_USER=" + s.access, "MINIO_ROOT_PASSWORD=" + s.secret, "MINIO_BROWSER=off", "MINIO_UPDATE=off"},
				port, "minio", "server", "--address", "127.0.0.1:"+port, s.dir+"/data")
		},
	},
	{
		name: "moto", title: "moto", install: "pip install 'moto[server]'",
		programs: []string{"moto_server", "python3"},
		version: func(ctx context.Context, s *site) (string, error) {
			return word(0)(s.output(ctx, nil, "python3", "-c", "import importlib.metadata as m; print(m.version('moto'))"))
		},
		start: func(ctx context.Context, s *site) (string, error) {
			port, err := s.port(ctx)
			if err != nil {
				return "", err
			}
			return s.serve(ctx, nil, port, "moto_server", "-H", "127.0.0.1", "-p", port)
		},
	},
	{
		name: "rclone", title: "rclone serve s3", install: goInstall("github.com/rclone/rclone"),
		programs: []string{"rclone"}, version: goVersion("rclone"),
		start: func(ctx context.Context, s *site) (string, error) {
			dir, err := s.mkdir("data")
			if err != nil {
				return "", err
			}
			port, err := s.port(ctx)
			if err != nil {
				return "", err
			}
			return s.serve(ctx, nil, port, "rclone", "serve", "s3", "--addr", "127.0.0.1:"+port, "--auth-key", s.access+","+s.secret, dir)
		},
	},
	{
		name: "s3rver", title: "s3rver", install: "npm install -g s3rver",
		programs: []string{"s3rver"},
		version: func(ctx context.Context, s *site) (string, error) {
			return word(0)(s.output(ctx, nil, "s3rver", "--version"))
		},
		start: func(ctx context.Context, s *site) (string, error) {
			dir, err := s.mkdir("data")
			if err != nil {
				return "", err
			}
			port, err := s.port(ctx)
			if err != nil {
				return "", err
			}
			s.access, s.secret = "S3RVER", "S3RVER" // it knows no other
			return s.serve(ctx, nil, port, "s3rver", "-d", dir, "-a", "127.0.0.1", "-p", port, "--no-vhost-buckets")
		},
	},
	{
		name: "versitygw", title: "versitygw, posix", install: goInstall("github.com/versity/versitygw/cmd/versitygw"),
		programs: []string{"versitygw"}, version: goVersion("versitygw"),
		start: func(ctx context.Context, s *site) (string, error) {
			data, err := s.mkdir("data")
			if err != nil {
				return "", err
			}
			versions, err := s.mkdir("versions")
			if err != nil {
				return "", err
			}
			port, err := s.port(ctx)
			if err != nil {
				return "", err
			}
			return s.serve(ctx, nil, port, "versitygw", "--port", "127.0.0.1:"+port, "--access", s.access, "--secret", s.secret,
				"posix", "--versioning-dir", versions, data)
		},
	},
}

func goInstall(path string) string { return "go install " + path + "@latest" }

// goVersion reads the module version out of a program that Go built.
func goVersion(program string) func(context.Context, *site) (string, error) {
	return func(context.Context, *site) (string, error) {
		path, err := exec.LookPath(program)
		if err != nil {
			return "", err
		}
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return "", err
		}
		return info.Main.Version, nil
	}
}

// word picks one word of a program's output.
func word(n int) func(string, error) (string, error) {
	return func(out string, err error) (string, error) {
		words := strings.Fields(out)
		switch {
		case err != nil:
			return "", err
		case len(words) <= n:
			return "", fmt.Errorf("%q has no word %d", out, n)
		}
		return words[n], nil
	}
}
