package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// One byte of the state is changed on the way down, whoever wrote it and whatever the store says of it. No command
// shows it, nor writes it back.
func TestAltered_Reads(t *testing.T) {
	t.Parallel()
	older, newer := plainState(1, "a", ""), plainState(2, "a", oneResource)
	writers := map[string]func(s *shell, content string){
		"ours, with its SHA-256": func(s *shell, content string) { s.want(s.run("push", s.file(content), demoRef), 0) },
		"ours, by its MD5": func(s *shell, content string) {
			s.want(s.run("push", "-backend-config", "skip_s3_checksum=true", s.file(content), demoRef), 0)
		},
		"an SDK's, with its CRC32": func(s *shell, content string) { s.overwrite(content) },
	}
	commands := map[string][]string{
		"pull":           {"pull", demoRef},
		"show":           {"show", demoRef},
		"show a version": {"show", "-version", "1", demoRef},
		"diff":           {"diff", "previous", demoRef},
		"history":        {"history", demoRef},
		"push":           {"push", "FILE", demoRef},
		"rollback":       {"rollback", "-auto-approve", "previous", demoRef},
		"states":         {"states", "-headers", "s3://demo"},
		"run":            {"run", "-takeover", "expired", demoRef, "--", "true"},
		"force-unlock":   {"force-unlock", "-force", "old", demoRef},
	}
	for writer, write := range writers {
		for name, args := range commands {
			if name != "pull" && writer != "ours, with its SHA-256" {
				continue
			}
			t.Run(name+", "+writer, func(t *testing.T) {
				t.Parallel()
				s := newShell(t).withStore()
				write(s, older)
				write(s, newer)
				proxy := s.behindProxy()
				proxy.Add(faultproxy.Rule{
					Match: func(r *http.Request) bool {
						return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".tfstate")
					},
					Fault: faultproxy.AlterReply(`"serial": `, `"Serial": `),
				})
				locked := name == "run" || name == "force-unlock"
				if locked { // the fence reads the state and writes it again
					s.managedLock("app/terraform.tfstate", "old", statelatch.Managed{TTL: time.Second})
				}
				args := slices.Clone(args)
				if i := slices.Index(args, "FILE"); i > 0 {
					args[i] = s.file(plainState(3, "a", oneResource))
				}
				before := len(args)
				if i := slices.Index(args, "--"); i > 0 {
					before = i - 1 // the flags come before the REF
				}
				args = slices.Insert(args, before, s.flags...)
				o := s.runContext(t.Context(), args...)
				if o.code == 0 && name != "states" || // there a failure is a row
					!strings.Contains(o.out+o.err, "changed on the way") || strings.Contains(o.out, "Serial") {
					t.Errorf("got %+v, want an error that says what happened", o)
				}
				proxy.Heal()
				if o := s.run("pull", demoRef); o.code != 0 || o.out != newer {
					t.Errorf("got %+v, want the state as it was", o)
				}
				if h := s.history(demoRef); len(h.Versions) != 2 {
					t.Errorf("got %d versions, want the two that there were", len(h.Versions))
				}
			})
		}
	}
}

// One byte is changed on the way up, to a store that does not compare. It is never reported as written.
func TestAltered_Write(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 0)
	proxy := s.behindProxy()
	proxy.Add(faultproxy.Rule{
		Match: func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".tfstate")
		},
		Fault: faultproxy.AlterRequest(`"lineage"`, `"Lineage"`, "key", "secret-key"),
	})
	o := s.run("push", s.file(plainState(2, "a", oneResource)), demoRef)
	if o.code != 1 || strings.Contains(o.out+o.err, "Wrote") || !strings.Contains(o.err, "changed on the way") {
		t.Errorf("got %+v, want an error that says what happened", o)
	}
	s.want(s.run("status", demoRef), 0, "not locked")
	if n := proxy.Count(func(r faultproxy.Request) bool { return r.Fault != "" }); n != 1 {
		t.Errorf("%d writes were altered, want one that is not repeated", n)
	}
}
