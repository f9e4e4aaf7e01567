package unsaved

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
)

// A copy is nobody's leftover while it is used, and goes when it, or something newer of its lineage, is stored.
func TestCopies_KeepLeftSettle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	getenv := func(name string) string { return map[string]string{"STATELATCH_STATE_DIR": dir}[name] }
	c := Of(statelatch.Ref{Bucket: "b", Key: "k"}, getenv)
	other := Of(statelatch.Ref{Bucket: "b", Key: "other"}, getenv)
	const text = `{"version":4,"terraform_version":"1.11.4","serial":7,"lineage":"l","outputs":{},"resources":[]}`
	body, kept, err := c.Keep(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); err != nil || string(got) != text {
		t.Errorf("got %q, %v", got, err)
	}
	if left := c.Left(time.Now(), false); len(left) != 0 {
		t.Errorf("it is used: got %+v", left)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if left := c.Left(time.Now(), false); len(left) != 1 || left[0].Path != kept.Path || left[0].Serial != 7 || left[0].Partial {
		t.Errorf("got %+v", left)
	}
	if left := other.Left(time.Now(), false); len(left) != 0 {
		t.Errorf("of another state: got %+v", left)
	}
	for _, older := range []statelatch.StateHeader{{Serial: 6, Lineage: "l"}, {Serial: 8, Lineage: "other"}} {
		if removed := c.Settle(older); len(removed) != 0 {
			t.Errorf("%+v was stored: removed %+v", older, removed)
		}
	}
	if removed := c.Settle(statelatch.StateHeader{Serial: 7, Lineage: "l"}); len(removed) != 1 || removed[0].Path != kept.Path {
		t.Errorf("removed %+v", removed)
	}
	if _, err := os.Stat(kept.Path); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
