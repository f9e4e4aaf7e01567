package migrate

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/statelatch/statelatch/internal/tree"
)

// However many read it, and in whatever order they are done, a tree is one and the same.
func TestScan_SameByAnyNumberOfWorkers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := tree.Write(dir); err != nil {
		t.Fatal(err)
	}
	one, err := scanBy(t.Context(), dir, Options{}, 1)
	if err != nil || len(one.Roots) == 0 || len(one.Findings) == 0 {
		t.Fatalf("%d roots, %d findings, %v", len(one.Roots), len(one.Findings), err)
	}
	for range 5 {
		many, err := scanBy(t.Context(), dir, Options{}, 7)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(many, one) {
			t.Fatal("seven workers find something else than one")
		}
	}
}

// As many portions as there are workers are read at once, and none waits for another.
func TestReader_Parallel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers, steps = 4, 10 * portion
		r := newReader(t.Context(), newScanner("", ""), workers)
		var atOnce sync.WaitGroup
		atOnce.Add(workers)
		for i := range steps {
			r.do(func(part *scanner) {
				if i%portion == 0 && i/portion < workers {
					atOnce.Done()
					atOnce.Wait() // for ever, unless all workers come here
				}
				part.find(fmt.Sprint(i), Note, "", 0, "", "")
			})
		}
		r.finish()
		for i, f := range r.into.tree.Findings {
			if f.ID != fmt.Sprint(i) {
				t.Fatalf("finding %d is %s, want them in the order of the steps", i, f.ID)
			}
		}
		if n := len(r.into.tree.Findings); n != steps {
			t.Errorf("%d findings, want %d", n, steps)
		}
	})
}
