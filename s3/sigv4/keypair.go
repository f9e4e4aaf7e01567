package sigv4

import (
	"errors"
	"fmt"
	"strings"
)

// The least lengths of a key pair that guards anything. An ID is no secret, but one of three letters is
// a sign of a pair that was made up; AWS's have 20 and 40 characters.
const (
	minAccessKeyID     = 16
	minSecretAccessKey = 32
)

// CheckKeyPair refuses a key pair that could be guessed, or that clients could not send. The error names no value.
func CheckKeyPair(id, secret string) error {
	switch {
	case len(id) < minAccessKeyID:
		return fmt.Errorf("the access key ID has %d characters, want at least %d", len(id), minAccessKeyID)
	case len(id) > 128 || strings.ContainsFunc(id,
		func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/,=", r) }):
		return errors.New("the access key ID must have up to 128 printable ASCII characters without blanks and without " +
			"'/', ',' and '='")
	case len(secret) < minSecretAccessKey:
		return fmt.Errorf("the secret access key has %d characters, want at least %d: make one with 'openssl "+
			"rand -base64 30'", len(secret), minSecretAccessKey)
	}
	return nil
}
