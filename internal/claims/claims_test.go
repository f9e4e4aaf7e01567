package claims

import (
	"slices"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
)

func TestClaims_RememberAndForget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := Open(func(name string) string { return map[string]string{"STATELATCH_STATE_DIR": dir}[name] })
	if err != nil {
		t.Fatal(err)
	}
	a, b := statelatch.Ref{Bucket: "b", Key: "a"}, statelatch.Ref{Bucket: "b", Key: "b"}
	for ref, ids := range map[statelatch.Ref][]string{a: {"1", "2"}, b: {"3"}} {
		for _, id := range ids {
			if err := c.Remember(ref, id, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !c.Has(a, "1") || !c.Has(b, "3") || c.Has(a, "3") || c.Has(a, "") {
		t.Error("it knows another's lock, or not its own")
	}
	refs := c.Refs()
	slices.Sort(refs)
	if want := []string{"s3://b/a", "s3://b/b"}; !slices.Equal(refs, want) {
		t.Errorf("got %q, want %q", refs, want)
	}
	if err := c.Forget(a, "nosuch"); err != nil {
		t.Error(err)
	}
	if err := c.ForgetAll(a); err != nil || c.Has(a, "1") || c.Has(a, "2") || !c.Has(b, "3") {
		t.Errorf("got %v, or not those of one state alone", err)
	}
	var none Claims
	if err := none.Remember(a, "1", time.Now()); err != nil || none.Has(a, "1") || len(none.Refs()) != 0 {
		t.Errorf("the zero Claims remembers something: %v", err)
	}
}
