package session

import (
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch/s3/sigv4"
)

// KeyPair is what a client signs with.
type KeyPair struct {
	ID, Secret string // the access key ID and the secret access key
}

// ReadKeyPair reads a file with one key pair, which must be out of others' reach. It is written as AWS's shared
// credentials files are, which the path can be given to clients as: aws_access_key_id and aws_secret_access_key, in one
// profile of any name or in none; lines that begin with # or ; are comments.
func ReadKeyPair(file string) (KeyPair, error) {
	w := watched[KeyPair]{file: file, parse: parseKeyPair}
	return w.read()
}

func parseKeyPair(data []byte) (KeyPair, error) {
	var pair KeyPair
	profiles, n := 0, 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.ContainsRune("#;", rune(line[0])) {
			continue
		}
		if strings.HasPrefix(line, "[") {
			if profiles++; profiles > 1 {
				return KeyPair{}, fmt.Errorf("line %d: another profile: keep one", n)
			}
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		field := map[string]*string{"aws_access_key_id": &pair.ID, "aws_secret_access_key": &pair.Secret}[name]
		if !ok || field == nil || *field != "" || value == "" {
			return KeyPair{}, fmt.Errorf("line %d: want aws_access_key_id = ID and aws_secret_access_key = SECRET, each once, "+
				"and nothing else", n)
		}
		*field = value
	}
	if pair.ID == "" || pair.Secret == "" {
		return KeyPair{}, errors.New("want a line aws_access_key_id = ID, and one aws_secret_access_key = SECRET")
	}
	if strings.HasPrefix(pair.ID, idPrefix) {
		return KeyPair{}, fmt.Errorf("the access key ID begins with %s, as those of sessions do: use another", idPrefix)
	}
	return pair, sigv4.CheckKeyPair(pair.ID, pair.Secret)
}
