package simulation

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	oneSeed   = flag.Uint64("seed", 0, "run this seed alone; with -v its history is printed")
	firstSeed = flag.Uint64("first", 1, "the first seed of many")
	seeds     = flag.Int("seeds", 200, "how many seeds, shared out among the modes")
	repeat    = flag.Bool("repeat", false, "run every seed twice, and fail where the histories differ")
)

// mode is a kind of run; the seed decides the rest of its terms.
type mode struct {
	name  string
	terms func(*rand.Rand) terms
}

var modes = []mode{
	// Nothing goes wrong: nothing may fail, and nobody waits for nothing.
	{"calm", func(r *rand.Rand) terms { return terms{clients: 2 + r.IntN(3), rounds: 4} }},
	// The network is bad, but processes run: critical sections do not overlap (L4).
	{"lossy", func(r *rand.Rand) terms {
		return terms{clients: 2 + r.IntN(3), rounds: 4, loss: lossy(r), kills: r.IntN(2) == 0}
	}},
	// Locks are taken over while their holders are stopped, and do not know when they go on.
	{"paused", func(r *rand.Rand) terms {
		return terms{clients: 2 + r.IntN(3), rounds: 4, loss: lossyOrNot(r), pauses: true, kills: r.IntN(2) == 0}
	}},
	// Locks are removed by hand under living holders (R10).
	{"forced", func(r *rand.Rand) terms {
		return terms{clients: 2 + r.IntN(3), rounds: 4, loss: lossyOrNot(r), pauses: true, kills: r.IntN(2) == 0, forced: true}
	}},
	// Plain engines take part, whose own messages are not lost.
	{"mixed", func(r *rand.Rand) terms {
		return terms{clients: 1 + r.IntN(3), engines: 1 + r.IntN(2), rounds: 4, loss: lossyOrNot(r), pauses: r.IntN(2) == 0, kills: r.IntN(2) == 0}
	}},
	// There is no conditional delete.
	{"weak", func(r *rand.Rand) terms {
		return terms{clients: 2 + r.IntN(3), rounds: 4, loss: lossyOrNot(r), weak: true}
	}},
	// A DynamoDB table is locked too, and holds the digest.
	{"dual", func(r *rand.Rand) terms {
		return terms{clients: 2 + r.IntN(3), rounds: 4, loss: lossyOrNot(r), pauses: r.IntN(2) == 0, kills: r.IntN(2) == 0, table: true}
	}},
}

// gatewayModes are of engines that know nothing of gateways, behind two of them.
var gatewayModes = []mode{
	// The network is bad on both sides of the gateways, and they are stopped and started anew; or nothing goes wrong.
	{"gateway", func(r *rand.Rand) terms {
		return terms{remotes: 3, gates: 2, rounds: 2, loss: lossyOrNot(r), pauses: r.IntN(2) == 0, kills: r.IntN(2) == 0}
	}},
	// Locks are forced away under living engines, through the gateways.
	{"unlock", func(r *rand.Rand) terms {
		return terms{remotes: 3, gates: 2, rounds: 2, loss: lossyOrNot(r), pauses: r.IntN(2) == 0, kills: r.IntN(2) == 0, forced: true}
	}},
	// An engine on the bucket itself takes part, whose own messages arrive, and which nobody forces away while it lives.
	{"bypass", func(r *rand.Rand) terms {
		return terms{
			remotes: 2, engines: 1, gates: 2, rounds: 2, loss: lossyOrNot(r), pauses: r.IntN(2) == 0, kills: r.IntN(2) == 0,
			forced: r.IntN(2) == 0,
		}
	}},
}

func TestSimulation_Gateway(t *testing.T) { simulateAll(t, gatewayModes, *seeds*3/4) }

// The same engines lose updates on the bucket itself, and the oracles see it: what is judged above can fail.
func TestSimulation_Direct(t *testing.T) {
	t.Parallel()
	lost, zombies := 0, 0
	const runs = 100
	for seed := range uint64(runs) {
		var w *world
		synctest.Test(t, func(t *testing.T) {
			w = simulate(t, 1+seed, mode{"direct", func(*rand.Rand) terms {
				return terms{remotes: 3, rounds: 3, loss: 0.03, pauses: true, forced: true}
			}})
		})
		for _, v := range w.violations {
			switch kind, _, _ := strings.Cut(v, ":"); kind {
			case "lost update":
				lost++
			case "zombie":
				zombies++
			}
		}
	}
	t.Logf("%d seeds: %d lost updates, %d zombie writes", runs, lost, zombies)
	if lost < runs/10 || zombies < runs/10 {
		t.Errorf("of %d runs the oracles saw %d lost updates and %d zombie writes, and each must be seen often", runs, lost,
			zombies)
	}
}

// maxLate is how late a delete may be that has no condition: lock gives one without an answer 10 s to arrive.
const maxLate = 9 * time.Second

func lossy(r *rand.Rand) float64      { return []float64{0.03, 0.15}[r.IntN(2)] }
func lossyOrNot(r *rand.Rand) float64 { return []float64{0, 0.03, 0.15}[r.IntN(3)] }

// maxFailures is how many seeds of one mode may fail before the others are not tried any more.
const maxFailures = 5

func TestSimulation(t *testing.T) { simulateAll(t, modes, *seeds) }

func simulateAll(t *testing.T, modes []mode, seeds int) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			if *oneSeed != 0 {
				w := run(t, *oneSeed, m)
				t.Log(w.history())
				return
			}
			t.Parallel()
			each := uint64((seeds + len(modes) - 1) / len(modes))
			var mu sync.Mutex
			var sum counts
			failures := 0
			t.Cleanup(func() { t.Logf("%d seeds: %v", each, sum) })
			workers := uint64(runtime.GOMAXPROCS(0))
			for worker := range workers {
				t.Run(fmt.Sprintf("worker%d", worker), func(t *testing.T) {
					t.Parallel()
					for i := worker; i < each; i += workers {
						w := run(t, *firstSeed+i, m)
						mu.Lock()
						sum.add(w.count)
						if len(w.violations) > 0 {
							failures++
							if failures == 1 {
								t.Log(w.history())
							}
						}
						enough := failures >= maxFailures
						mu.Unlock()
						if enough {
							return
						}
					}
				})
			}
		})
	}
}

// run is one seed of one mode.
func run(t *testing.T, seed uint64, m mode) *world {
	t.Helper()
	var w *world
	ended := false
	defer func() {
		if !ended {
			t.Errorf("seed %d of %s did not end; replay: go test ./internal/simulation -run TestSimulation/%s -seed=%d -v", seed, m.name, m.name, seed)
		}
	}()
	synctest.Test(t, func(t *testing.T) { w = simulate(t, seed, m) })
	ended = true
	if *repeat {
		var again *world
		synctest.Test(t, func(t *testing.T) { again = simulate(t, seed, m) })
		if a, b := differ(w.history(), again.history()); a != b {
			t.Errorf("seed %d of %s: first\n%s\nthen\n%s", seed, m.name, a, b)
		}
	}
	for _, v := range w.violations {
		t.Errorf("seed %d: %s\n\treplay: go test ./internal/simulation -run TestSimulation.*/%s -seed=%d -v", seed, v, m.name, seed)
	}
	return w
}

// differ returns the first line in which two histories differ, of each.
func differ(a, b string) (string, string) {
	first, second := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(first), len(second)) {
		if first[i] != second[i] {
			return first[i], second[i]
		}
	}
	return "", ""
}
