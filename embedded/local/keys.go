// Package local is an embedded store that a user runs on a machine, as 'statelatch serve' does: the key pair in its
// directory, and how its clients find it while it runs.
package local

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/statelatch/statelatch/internal/private"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// The key pair is in the store's directory, in a shared credentials file, as a profile.
const (
	CredentialsFile = "credentials" // its name in the directory
	Profile         = "statelatch"  // the pair's name in it
)

// KeyPair is a store's one key pair.
type KeyPair struct {
	ID, Secret string // as clients sign with them
	InFile     bool   // they are in the CredentialsFile
}

// Keys are those of the directory, which is made, with fresh ones, where there are none. The errors say what to mend.
func Keys(ctx context.Context, dir string) (KeyPair, error) {
	file := filepath.Join(dir, CredentialsFile)
	if err := makeCredentials(file); err != nil {
		return KeyPair{}, fmt.Errorf("credentials file: %w", err)
	}
	profile, err := config.LoadSharedConfigProfile(ctx, Profile, func(lo *config.LoadSharedConfigOptions) {
		lo.ConfigFiles, lo.CredentialsFiles = []string{}, []string{file}
	})
	if err != nil || !profile.Credentials.HasKeys() {
		return KeyPair{}, fmt.Errorf("%s has no usable profile [%s]: mend it, or remove it to get a new key pair", file,
			Profile)
	}
	keys := KeyPair{profile.Credentials.AccessKeyID, profile.Credentials.SecretAccessKey, true}
	if err := sigv4.CheckKeyPair(keys.ID, keys.Secret); err != nil {
		return KeyPair{}, fmt.Errorf("%s: profile [%s]: %w; or remove the file to get a new key pair", file, Profile, err)
	}
	return keys, nil
}

// makeCredentials writes a fresh key pair unless the file exists, all or nothing.
func makeCredentials(file string) error {
	if err := private.File(file); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var random [10 + 30]byte
	_, _ = rand.Read(random[:]) // never fails
	body := fmt.Sprintf("# The key pair of the Statelatch store in this directory.\n[%s]\naws_access_key_id = "+
		"SLAT%s\naws_secret_access_key = %s\n",
		Profile, base32.StdEncoding.EncodeToString(random[:10]), base64.RawURLEncoding.EncodeToString(random[10:]))
	tmp, err := os.CreateTemp(filepath.Dir(file), "credentials-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(body)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	// Link refuses to replace a file that another process made meanwhile.
	if err := os.Link(tmp.Name(), file); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
