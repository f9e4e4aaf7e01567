package gateway_test

import "testing"

// Processes that share a static key are told apart by the connection that took the lock, and by serial and lineage, and
// by nothing else: a stopped one that comes back over a new connection, with a serial that is high enough, writes over
// its successor, and ends its lock. With sessions it can do neither.
func TestGateway_StaticKeyIsWeaker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	const first, second, again = 1, 2, 3 // connections
	op := person("op", 9)
	forceAway := func() {
		t.Helper()
		if _, err := n.ReadLock(t.Context(), op, key); err != nil {
			t.Fatal(err)
		}
		n.unlock(t, op)
	}
	n.lock(t, person("ana", first), "one")
	n.mustWrite(t, person("ana", first), body(1, "a"))
	forceAway()
	n.lock(t, person("ana", second), "two")
	n.mustWrite(t, person("ana", second), body(2, "a b"))
	wantRefused(t, n.write(t, person("ana", first), body(3, "a zombie")), "this connection took, one")
	wantRefused(t, n.write(t, person("ana", again), body(2, "a zombie")), "does not follow")
	w.wantState(body(2, "a b"))
	w.wantLock("two")
	n.mustWrite(t, person("ana", again), body(3, "a zombie")) // this is what is weaker
	n.unlock(t, person("ana", again))
	w.wantLock("")

	zombie, other := pipeline("s1"), pipeline("s2")
	zombie.Conn, other.Conn = first, second
	n.lock(t, zombie, "three")
	n.mustWrite(t, zombie, body(4, "a"))
	forceAway()
	n.lock(t, other, "four")
	n.mustWrite(t, other, body(5, "a b"))
	zombie.Conn = again
	wantRefused(t, n.write(t, zombie, body(6, "a zombie")))
	wantRefused(t, n.Unlock(t.Context(), zombie, key))
	w.wantState(body(5, "a b"))
	w.wantLock("four")
}
