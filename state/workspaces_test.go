package state_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/state"
)

func TestWorkspaces_List(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prefix string
		keys   []string
		want   []string
	}{
		"none": {"env:", nil, []string{"default"}},
		"some": {
			"env:",
			[]string{
				"env:/prod/app/s", "env:/dev/app/s", "env:/dev/app/s.tflock", "env:/other/app/t", "env:/app/s", "env:/x/y/app/s",
				"env:/../app/s", "env:/./app/s", "env:/a b/app/s", "env:/default/app/s", "envx/no/app/s", "app/s", "env:/Z/app/s",
			},
			[]string{"default", "Z", "dev", "prod"},
		},
		"without prefix": {"", []string{"dev/app/s", "app/s", "s", "dev/app/s.tflock"}, []string{"default", "dev"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			for _, key := range tc.keys {
				r.seedAt(t, key, "")
			}
			got, err := state.Workspaces{Store: r.Store, Key: "app/s", Prefix: tc.prefix}.List(t.Context())
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
			wantRequests(t, r, 0, "list")
		})
	}
}

// path.Join cleans the keys of named workspaces; engines look for the key as it is configured, and never find these.
func TestWorkspaces_List_UncleanKey(t *testing.T) {
	t.Parallel()
	r := newRig()
	for _, key := range []string{"./app//s", "teams/dev/app/s", "teams/dev/app//s", "./teams/x/app/s"} {
		r.seedAt(t, key, "")
	}
	got, err := state.Workspaces{Store: r.Store, Key: "./app//s", Prefix: "./teams"}.List(t.Context())
	if want := []string{"default", "dev"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestWorkspaces_List_Denied(t *testing.T) {
	t.Parallel()
	r := newRig(faultbucket.Rule{Op: faultbucket.OpList, Fault: faultbucket.Answer(403)})
	got, err := state.Workspaces{Store: r.Store, Key: "app/s", Prefix: "env:"}.List(t.Context())
	wantKind(t, "List", err, statelatch.ErrDenied)
	if !slices.Equal(got, []string{"default"}) {
		t.Errorf("got %v, want at least default", got)
	}
}

// Shaped as the engines' own, so that both read it; see the package comment for what was tried with them.
func TestStore_New_AsTheEngines(t *testing.T) {
	t.Parallel()
	r := newRig()
	digests := r.withTable("")
	v, err := r.New(t.Context(), ref, state.Provenance{})
	if err != nil {
		t.Fatal(err)
	}
	wantRequests(t, r, 0, "put If-None-Match")
	want := `{"version":4,"terraform_version":"0.12.0","serial":1,"lineage":"` + v.Header.Lineage + `","outputs":{},"resources":[],"check_results":null}` + "\n"
	wantStored(t, r, want)
	if digests.items[ref] != md5of(want) || len(v.Header.Lineage) != 36 {
		t.Errorf("digest %q, lineage %q", digests.items[ref], v.Header.Lineage)
	}
	engine, err := os.ReadFile("../testdata/terraform-1.11.4.tfstate")
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, key := range []string{"version", "terraform_version", "serial", "lineage", "outputs", "resources", "check_results"} {
		ours, theirs := strings.Index(want, `"`+key+`":`), strings.Index(string(engine), "\n  \""+key+`":`)
		if ours < at || theirs < 0 {
			t.Errorf("key %s: at %d in ours and %d in the engine's, want the engine's order", key, ours, theirs)
		}
		at = ours
	}
	_, err = r.New(t.Context(), ref, state.Provenance{})
	wantKind(t, "New again", err, statelatch.ErrPreconditionFailed)
	wantStored(t, r, want)
}

func TestStore_EnsureExists_OneRequest(t *testing.T) {
	t.Parallel()
	r := newRig()
	for range 2 {
		if err := r.EnsureExists(t.Context(), ref, state.Provenance{}); err != nil {
			t.Fatal(err)
		}
		wantStored(t, r, "")
	}
	wantRequests(t, r, 0, "put If-None-Match", "put If-None-Match")
}

func workspace(t *testing.T, r *rig) (state.Workspaces, *tenure) {
	t.Helper()
	w := state.Workspaces{Store: r.Store, Key: "app/s", Prefix: "env:"}
	lock := holding()
	lock.ref.Key = "env:/dev/app/s"
	return w, lock
}

// B19: deleted under the lock, on the condition that it is what was read, then the digest; the lock is left to its
// holder.
func TestWorkspaces_Delete_B19_UnderTheLock(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"emptied": body(3, lineage, ""), "zero bytes": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			w, lock := workspace(t, r)
			r.seedAt(t, lock.ref.Key, content)
			r.seedAt(t, lock.ref.LockKey(), "the lock")
			digests := r.withTable("")
			if content != "" {
				digests.items[lock.ref] = md5of(content)
			}
			x := r.begin(t, lock)
			if err := w.Delete(t.Context(), x, false); err != nil {
				t.Fatal(err)
			}
			wantRequests(t, r, 0, "get", "delete If-Match")
			if got := r.storedAt(t, lock.ref.Key); got != absent {
				t.Errorf("left: %q", got)
			}
			if got := r.storedAt(t, lock.ref.LockKey()); got != "the lock" {
				t.Errorf("the lock: %q, want it left to its holder", got)
			}
			if len(digests.items) != 0 || lock.checked == 0 {
				t.Errorf("digests %v, lease checked %d times", digests.items, lock.checked)
			}
		})
	}
}

func TestWorkspaces_Delete_Refusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		key, content string
		force        bool
		want         error
	}{
		"default":                  {"app/s", body(1, lineage, ""), true, statelatch.ErrInvalid},
		"not a workspace":          {"env:/dev/app/t", body(1, lineage, ""), true, statelatch.ErrInvalid},
		"no such workspace":        {"env:/dev/app/s", absent, true, statelatch.ErrNotFound},
		"resources":                {"env:/dev/app/s", body(1, lineage, "x"), false, state.ErrGuarded},
		"resources, forced":        {"env:/dev/app/s", body(1, lineage, "x"), true, nil},
		"encrypted":                {"env:/dev/app/s", encrypted(1, lineage, "x"), false, state.ErrGuarded},
		"encrypted, forced":        {"env:/dev/app/s", encrypted(1, lineage, "x"), true, nil},
		"an old format":            {"env:/dev/app/s", old(1, lineage, `"a.b":{}`), false, state.ErrGuarded},
		"an old format, empty":     {"env:/dev/app/s", old(1, lineage, ""), false, nil},
		"a format of tomorrow":     {"env:/dev/app/s", `{"version":5,"serial":1,"lineage":"l"}`, false, state.ErrGuarded},
		"not readable":             {"env:/dev/app/s", "oops", false, state.ErrGuarded},
		"with outputs, no objects": {"env:/dev/app/s", strings.Replace(body(1, lineage, ""), `"outputs":{}`, `"outputs":{"o":{}}`, 1), false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			w, lock := workspace(t, r)
			lock.ref.Key = tc.key
			r.seedAt(t, tc.key, tc.content)
			err := w.Delete(t.Context(), r.begin(t, lock), tc.force)
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			want := tc.content
			if tc.want == nil {
				want = absent
			}
			if got := r.storedAt(t, tc.key); got != want {
				t.Errorf("stored: got %q, want %q", got, want)
			}
		})
	}
}

func TestWorkspaces_Delete_ChangedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig()
	w, lock := workspace(t, r)
	r.seedAt(t, lock.ref.Key, body(1, lineage, ""))
	x := r.begin(t, lock)
	newer := body(2, lineage, "x")
	r.seedAt(t, lock.ref.Key, newer)
	wantKind(t, "Delete", w.Delete(t.Context(), x, false), statelatch.ErrPreconditionFailed)
	if got := r.storedAt(t, lock.ref.Key); got != newer {
		t.Errorf("stored: got %q, want the newer state", got)
	}
}

func TestWorkspaces_Delete_NoConditionalDelete(t *testing.T) {
	t.Parallel()
	r := newRig(faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.Answer(501)})
	w, lock := workspace(t, r)
	content := body(1, lineage, "")
	r.seedAt(t, lock.ref.Key, content)
	err := w.Delete(t.Context(), r.begin(t, lock), true)
	wantKind(t, "Delete", err, statelatch.ErrUnsupported)
	if got := r.storedAt(t, lock.ref.Key); got != content || len(lock.held) != 0 {
		t.Errorf("stored %q, held %v", got, lock.held)
	}
}

func TestWorkspaces_Delete_DigestFails(t *testing.T) {
	t.Parallel()
	r := newRig()
	w, lock := workspace(t, r)
	content := body(1, lineage, "")
	r.seedAt(t, lock.ref.Key, content)
	x := r.begin(t, lock)
	r.withTable("", statelatch.ErrDenied)
	err := w.Delete(t.Context(), x, false)
	wantKind(t, "Delete", err, state.ErrDigestStale)
	if !strings.Contains(err.Error(), "remove item "+lock.ref.DynamoDBDigestID()) {
		t.Errorf("message: %v", err)
	}
}

func TestStore_SaveRescue(t *testing.T) {
	t.Parallel()
	r := newRig()
	const dir = "app/terraform.tfstate.rescue/"
	for _, step := range []struct{ run, content, key string }{
		{"gh/acme/42", "first", dir + "gh-acme-42"},
		{"gh/acme/42", "first", dir + "gh-acme-42"}, // asked again
		{"gh/acme/42", "second", dir + "gh-acme-42-2"},
		{"gh/acme/42", "third", dir + "gh-acme-42-3"},
		{"gh/acme/42", "second", dir + "gh-acme-42-2"},
		{"other run", "", dir + "other-run"},
	} {
		key, err := r.SaveRescue(t.Context(), ref, step.run, strings.NewReader(step.content), state.Provenance{})
		if err != nil || key != step.key || r.storedAt(t, key) != step.content {
			t.Errorf("%s %q: got %q, %v, want %q", step.run, step.content, key, err, step.key)
		}
	}
	_, err := r.SaveRescue(t.Context(), ref, "", strings.NewReader("x"), state.Provenance{})
	wantKind(t, "without a run", err, statelatch.ErrInvalid)
}
