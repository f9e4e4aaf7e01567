package plural

import "testing"

func TestOf_OneAndOthers(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0 locks", 1: "1 lock", 2: "2 locks", 1000: "1000 locks"} {
		if got := Of(n, "lock"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
