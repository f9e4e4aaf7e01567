package sigv4

import (
	"strings"
	"testing"
)

func TestCheckKeyPair(t *testing.T) {
	t.Parallel()
	id, secret := strings.Repeat("A", 20), strings.Repeat("s", 40)
	for _, tt := range []struct{ id, secret, want string }{
		{id, secret, ""},
		{id[:16], secret[:32], ""},
		{"key", secret, "3 characters"},
		{id, "secret-key", "10 characters"},
		{"", "", "0 characters"},
		{strings.Repeat("A", 129), secret, "128"},
		{"has/a/slash/in/the/id", secret, "'/'"},
		{"has a blank in the id", secret, "blanks"},
	} {
		err := CheckKeyPair(tt.id, tt.secret)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d and %d characters: got %v, want %q", len(tt.id), len(tt.secret), err, tt.want)
		}
		if err != nil && tt.secret != "" && strings.Contains(err.Error(), tt.secret) {
			t.Errorf("the secret is in %v", err)
		}
	}
}
