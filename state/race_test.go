package state_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/state"
)

// raceForState lets clients append their marks to one state, each update made from what was read. Marks are resources,
// so the state of serial n has n of them.
func raceForState(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	inner := membucket.New("b", membucket.Options{Versioned: true})
	faulty := faultbucket.New(inner, faultbucket.Options{Rand: random, Rules: []faultbucket.Rule{
		{Chance: 0.03, Fault: faultbucket.LoseRequest()},
		{Chance: 0.03, Fault: faultbucket.LoseReply()},
		{Chance: 0.03, Fault: faultbucket.Late(5)},
		{Chance: 0.02, Fault: faultbucket.Duplicate(4)},
		{Chance: 0.02, Fault: faultbucket.AnswerAfter(500)},
		{Chance: 0.02, Fault: faultbucket.Answer(409)},
	}})
	r := &rig{&state.Store{Bucket: faulty}, faulty, inner}
	if seed%2 == 0 {
		r.seed(t, "")
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	for client := range 3 {
		all.Go(func() {
			for round := range 8 {
				mark := fmt.Sprintf("c%dr%d", client, round)
				time.Sleep(time.Duration(client*37+round*11) * time.Millisecond)
				err := appendMark(t, r, mark)
				if err == nil {
					mu.Lock()
					acknowledged[mark] = true
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	faulty.Heal()
	faulty.Deliver()
	final := r.stored(t)
	for mark := range acknowledged {
		if strings.Count(final, `"`+mark+`"`) != 1 {
			t.Errorf("seed %d: acknowledged update %s is lost or there twice: %q", seed, mark, final)
		}
	}
	if len(acknowledged) == 0 {
		t.Errorf("seed %d: nothing was acknowledged", seed)
	}
}

func appendMark(t *testing.T, r *rig, mark string) error {
	t.Helper()
	x, err := r.Begin(t.Context(), holding())
	if err != nil {
		return err
	}
	_, stored, err := r.Open(t.Context(), ref)
	if err != nil {
		return err
	}
	defer stored.Close()
	content, err := io.ReadAll(stored)
	if err != nil {
		return err
	}
	var names []string
	for _, part := range strings.Split(string(content), `"name":"`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		names = append(names, name)
	}
	// Without a lock the state may have moved between Begin and Open. Then the serial is not the base's plus one.
	base := x.Base()
	if len(names) != int(base.Header.Serial) {
		return errors.New("moved")
	}
	_, err = x.Write(t.Context(), strings.NewReader(body(len(names)+1, lineage, strings.Join(append(names, mark), " "))), state.WriteOptions{})
	switch {
	case err == nil, errors.Is(err, statelatch.ErrPreconditionFailed), errors.Is(err, statelatch.ErrAmbiguous):
	default:
		t.Errorf("%s: %v", mark, err)
	}
	return err
}
