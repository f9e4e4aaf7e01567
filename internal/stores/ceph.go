package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// startCeph starts the smallest cluster that serves S3: one monitor, one manager, one OSD in memory, one gateway.
func startCeph(ctx context.Context, s *site) (string, error) {
	if err := s.mkdir("mon", "mgr", "osd", "run"); err != nil {
		return "", err
	}
	var ports [3]string
	for i := range ports {
		var err error
		if ports[i], err = s.port(ctx); err != nil {
			return "", err
		}
	}
	monitor, cluster, osd := fmt.Sprintf("[v2:127.0.0.1:%s,v1:127.0.0.1:%s]", ports[0], ports[1]), uuid(), uuid()
	key, err := s.output(ctx, nil, "ceph-authtool", "--gen-print-key")
	if err != nil {
		return "", err
	}
	if err := s.writeCephConfig(cluster, monitor, strings.TrimSpace(key)); err != nil {
		return "", err
	}
	config := []string{"-c", filepath.Join(s.dir, "ceph.conf")}
	for _, step := range []struct {
		stays   bool
		program string
		args    []string
	}{
		{false, "monmaptool", []string{
			"--create", "--addv", "a", monitor, "--fsid", cluster,
			filepath.Join(s.dir, "monmap"),
		}},
		{false, "ceph-mon", []string{
			"--mkfs", "-i", "a", "--monmap", filepath.Join(s.dir, "monmap"), "--keyring",
			s.keyring(),
		}},
		{true, "ceph-mon", []string{"-f", "-i", "a"}},
		{true, "ceph-mgr", []string{"-f", "-i", "x"}},
		{false, "ceph", []string{"osd", "new", osd}},
		{false, "ceph-osd", []string{"--mkfs", "-i", "0", "--osd-uuid", osd}},
		{true, "ceph-osd", []string{"-f", "-i", "0"}},
		{false, "radosgw-admin", []string{
			"user", "create", "--uid=probe", "--display-name=probe", "--access-key=" + s.access,
			"--secret=" + s.secret,
		}},
	} {
		if step.program != "monmaptool" {
			step.args = append(config[:2:2], step.args...)
		}
		if step.stays {
			err = s.spawn(ctx, nil, step.program, step.args...)
		} else {
			_, err = s.output(ctx, nil, step.program, step.args...)
		}
		if err != nil {
			return "", err
		}
	}
	return s.serve(ctx, nil, ports[2], "radosgw", append(config, "-f", "-n", "client.admin",
		"--rgw-frontends", "beast endpoint=127.0.0.1:"+ports[2])...)
}

func (s *site) keyring() string { return filepath.Join(s.dir, "keyring") }

func (s *site) writeCephConfig(cluster, monitor, key string) error {
	var keyring strings.Builder
	for _, who := range []string{"mon.", "client.admin", "mgr.x", "osd.0"} {
		fmt.Fprintf(&keyring, "[%s]\nkey = %s\ncaps mon = \"allow *\"\ncaps osd = \"allow *\"\ncaps mgr = \"allow *\"\n", who,
			key)
	}
	if err := os.WriteFile(s.keyring(), []byte(keyring.String()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "ceph.conf"), []byte(strings.NewReplacer(
		"DIR", s.dir, "CLUSTER", cluster, "MONITOR", monitor).Replace(`[global]
fsid = CLUSTER
mon host = MONITOR
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = DIR/keyring
run dir = DIR/run
admin socket = DIR/run/$name.$pid.asok
log file = DIR/run/$name.log
mon data = DIR/mon
mgr data = DIR/mgr
osd data = DIR/osd
osd objectstore = memstore
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
`)), 0o600)
}

// uuid is a random UUID of version 4.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
