// Package simulation runs the real packages lock, state and gateway, several clients of them at once, over a store
// behind a bad network, in virtual time (testing/synctest), and judges every run. It has no code of its own, only
// tests.
//
//	go test ./internal/simulation                                                200 seeds
//	go test ./internal/simulation -run TestSimulation -seeds=2000                for every commit
//	go test ./internal/simulation -run TestSimulation -seeds=1000000 -timeout 0  for a night; -first=N goes on
//	go test ./internal/simulation -run TestSimulation/forced -seed=432 -v        one seed again, with its history
//	go test ./internal/simulation -run TestSimulation -repeat                    every seed twice, for equal histories
//
// # What happens in a run
//
// One to four clients take the lock with a lease of 10 to 20 s, taking over what is over, read the state, add to it
// once or twice, and release. Every message takes 6 to 80 ms. A share of them (0, 3 or 15 %) is lost, or its reply is;
// comes 2 to 100 s late, also after its sender has given up, or comes twice, where either answer may be the one that
// counts; is answered 409, or 500 or 503 before or after the write. Now and then all messages of a process are lost or
// late for 5 to 60 s. Each process gives up waiting for an answer after 2 to 30 s of its own.
//
// Processes are killed, and others take their place. They are stopped for 10 to 90 s (SIGSTOP, a sleeping laptop), in
// 30 % of the tenures and at other times: nothing is sent, no answer is seen, their clock cannot be read; what was sent
// before is executed. When they go on, their clock has gone on and they do what they were about to do. No client's
// clock is right.
//
// The modes: calm (nothing goes wrong, so nothing may fail), lossy, paused, forced (a person removes locks, with the
// engines' force-unlock and with ours; R10), mixed (plain engines take part, whose own messages arrive), weak (no
// conditional delete, no takeovers, and a delete arrives within 9 s or never; R13), dual (with a DynamoDB table).
//
// In the modes of TestSimulation_Gateway two gateways stand before the bucket, with networks as bad on both sides.
// Plain engines speak to them through the gateways' door, as the SDK does: up to five tries of one request, each to
// either gateway. The gateways are stopped, killed and started anew. A session is one process; some processes take the
// lock several times. A person removes the locks of the dead, and, in the mode unlock, of the living. In bypass an
// engine on the bucket itself takes part. TestSimulation_Direct is the same engines without gateways: there the
// oracles must see lost updates.
//
// # What is judged
//
//   - history: what the clients saw is a linearizable read-modify-write register (porcupine; L1, L3).
//   - lost update, serial, touch: in the order of the store, every update was made from what it replaces and raises the
//     serial, and a touch leaves the content (L1).
//   - acknowledged, refused: what a writer was told is true, then and in the end.
//   - zombie: no update of an older tenure lands after a newer one has entered (P_ZOMBIE).
//   - conflict: the newest tenure is not refused because of the state, unless its lock was taken away (P_CONFLICT).
//   - overlap: critical sections do not overlap, unless processes are stopped or locks forced (L4).
//   - delete, release, jam: nobody removes somebody else's lock, or is kept out by the lock that it is about to
//     get (B1, B5).
//   - unconditional, nonce, sequence: what leaves a managed client has a condition, a fresh nonce, a growing sequence.
//   - digest: in the end the table's is the state's, unless the state's writer was told that it could not tell
//     the table.
//   - behind gateways, beside that: jam and wait (nobody is refused for its own lock, or shown nobody after a refusal),
//     release (who holds the lock is shown it and can release it, and it is gone then), left (a lock that was released
//     does not stay, as far as the gateway that released it lives). A lock that was forced away and is brought back by
//     a late copy of its creation is held again: only late creations are known to do that.
//   - recovery: a client that comes when all is over takes the lock, writes, and leaves nothing behind.
//
// What is not: stores that ignore conditions, versioned buckets, leases of other clocks' rates, sets of locks, plain
// engines whose messages are lost (nothing holds there). A stale digest that its writer was told of, and
// an item without a lock object, which only a person can judge, are counted, not judged.
//
// # How far a seed repeats
//
// Every decision of the harness comes from the seed, and no two things happen at the same nanosecond unless one causes
// the other. Nonces, and so ETags, are never the same; the history numbers them. Where the packages under test take a
// random pause, it must depend on virtual time alone, or a seed repeats the weather and not the run.
package simulation
