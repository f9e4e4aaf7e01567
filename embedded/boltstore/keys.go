package boltstore

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minio/sio"

	"github.com/statelatch/statelatch/internal/private"
	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	keySize  = 32 // of every key
	saltSize = 32
	idSize   = 16 // of a write ID

	keyFile = "encryption.key"

	// What derived keys are for. A change makes everything encrypted unreadable.
	purposeBody     = "statelatch boltstore body v1"
	purposeCustomer = "statelatch boltstore customer key verifier v1"
	purposeRecord   = "statelatch boltstore record v1"
	purposeCheck    = "statelatch boltstore master key check v1"
)

// binding is what a body's key is bound to: a body that is moved to another bucket, key,
// version or part in the database or on the disk cannot be decrypted there.
type binding struct {
	bucket, key string
	id          []byte // of the write; part of the version ID
	part        int
}

// bodyKey derives the key of one body.
func bodyKey(secret, salt []byte, b binding) ([]byte, error) {
	info := []byte(purposeBody)
	for _, field := range []string{b.bucket, b.key, string(b.id)} {
		info = binary.BigEndian.AppendUint32(info, uint32(len(field)))
		info = append(info, field...)
	}
	info = binary.BigEndian.AppendUint32(info, uint32(b.part))
	return derive(secret, salt, string(info))
}

func derive(secret, salt []byte, info string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, salt, info, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

// cipherConfig is AES-256-GCM in packages of 64 KiB, each authenticated with its
// position and the last one with being the last.
func cipherConfig(key []byte, firstPackage uint32) sio.Config {
	return sio.Config{
		MinVersion:     sio.Version20,
		MaxVersion:     sio.Version20,
		CipherSuites:   []byte{sio.AES_256_GCM},
		Key:            key,
		SequenceNumber: firstPackage,
	}
}

const (
	packageHeader = 16   // version, cipher, length, nonce
	finalPackage  = 0x80 // in the first byte of the nonce
	packageTag    = 16
)

// sealPackage encrypts a small body into buf, or a larger one. What cipherConfig makes of it is one package, for which
// the library would take 64 KiB.
func sealPackage(buf, plain, key []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	sealed := slices.Grow(buf, packageHeader+len(plain)+packageTag)[:packageHeader]
	_, _ = rand.Read(sealed) // never fails
	sealed[0], sealed[1] = sio.Version20, sio.AES_256_GCM
	binary.LittleEndian.PutUint16(sealed[2:], uint16(len(plain)-1))
	sealed[4] |= finalPackage
	return gcm.Seal(sealed, sealed[4:packageHeader], plain, sealed[:4]), nil
}

// openPackage decrypts what sealPackage made, in place.
func openPackage(sealed, key []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	n := len(sealed) - packageHeader - packageTag
	if n <= 0 || sealed[0] != sio.Version20 || sealed[1] != sio.AES_256_GCM || sealed[4]&finalPackage == 0 ||
		int(binary.LittleEndian.Uint16(sealed[2:])) != n-1 {
		return nil, errors.New("it is not a package")
	}
	body := sealed[packageHeader:]
	return gcm.Open(body[:0], sealed[4:packageHeader], body, sealed[:4])
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// newSeal decides how a new object is kept, and returns the secret its bodies' keys are
// derived from (nil: not encrypted).
func (s *Store) newSeal(e s3model.Encryption, byDefault bool) (*seal, []byte, error) {
	switch {
	case len(e.CustomerKey) > 0 && e.SSES3:
		return nil, nil, s3model.ErrInvalidRequest.With("Server-side encryption with AES256 and with a customer key "+
			"exclude each other.", nil)
	case len(e.CustomerKey) > 0:
		if len(e.CustomerKey) != keySize {
			return nil, nil, errInvalidArgument.With("The customer key must have 256 bits.", nil)
		}
		salt := randomBytes(saltSize)
		v, err := derive(e.CustomerKey, salt, purposeCustomer)
		if err != nil {
			return nil, nil, err
		}
		return &seal{Customer: true, Salt: salt, Verifier: v}, e.CustomerKey, nil
	case e.SSES3 || byDefault:
		return &seal{}, s.masterKey, nil
	}
	return nil, nil, nil
}

// unseal returns the secret of existing bodies, if the request may have it.
func (s *Store) unseal(l *seal, e s3model.Encryption) ([]byte, error) {
	switch {
	case l == nil || !l.Customer:
		if len(e.CustomerKey) > 0 {
			return nil, s3model.ErrInvalidRequest.With("A customer key was given for an object that is not encrypted with one.",
				nil)
		}
		if l == nil {
			return nil, nil
		}
		return s.masterKey, nil
	case len(e.CustomerKey) == 0:
		return nil, s3model.ErrInvalidRequest.With("The object is encrypted with a customer key (SSE-C), which the "+
			"request must give.", nil)
	case len(e.CustomerKey) != keySize:
		return nil, errInvalidArgument.With("The customer key must have 256 bits.", nil)
	}
	v, err := derive(e.CustomerKey, l.Salt, purposeCustomer)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(v, l.Verifier) {
		return nil, s3model.ErrAccessDenied.With("The customer key is not the one the object was written with.", nil)
	}
	return e.CustomerKey, nil
}

// describeSeal says what was done, to somebody who gave the key if it took one.
func describeSeal(l *seal, e s3model.Encryption) s3model.Encryption {
	switch {
	case l == nil:
		return s3model.Encryption{}
	case !l.Customer:
		return s3model.Encryption{SSES3: true}
	case len(e.CustomerKey) == 0:
		return s3model.Encryption{}
	}
	sum := md5.Sum(e.CustomerKey)
	return s3model.Encryption{CustomerMD5: base64.StdEncoding.EncodeToString(sum[:])}
}

// loadKey reads the master key or, if nothing depends on it yet, makes it. check is the
// value that tells it from others, nil in a new store.
func (s *Store) loadKey(check []byte) ([]byte, error) {
	path := filepath.Join(s.dir, keyFile)
	err := private.File(path)
	switch {
	case isNotExist(err) && check != nil:
		return nil, fmt.Errorf("%w: %s is missing, and the store holds encrypted objects: put the key file back "+
			"from its backup", ErrKey, path)
	case isNotExist(err):
		return s.makeKey(path)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, err := parseKey(string(bytes.TrimSpace(text)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKey, path, err)
	}
	if check != nil {
		have, err := derive(key, nil, purposeCheck)
		if err != nil {
			return nil, err
		}
		if !hmac.Equal(have, check) {
			return nil, fmt.Errorf("%w: %s holds another key than the one the objects were encrypted with: put the "+
				"right key file back", ErrKey, path)
		}
	}
	return key, nil
}

func parseKey(text string) ([]byte, error) {
	if key, err := hex.DecodeString(text); err == nil && len(key) == keySize {
		return key, nil
	}
	if key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "=")); err == nil && len(key) == keySize {
		return key, nil
	}
	return nil, errors.New("it must hold 32 bytes, as 64 hexadecimal digits or in base64")
}

// makeKey writes a new key so that the file is either absent or whole, and durable
// before anything is encrypted with it.
func (s *Store) makeKey(path string) ([]byte, error) {
	key := randomBytes(keySize)
	tmp := fmt.Sprintf("%s.%x.tmp", path, randomBytes(8))
	file, err := s.disk.create(tmp)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	_, err = s.disk.write(file, []byte(hex.EncodeToString(key)+"\n"))
	if err == nil {
		err = s.disk.sync(file)
	}
	if err = cmp.Or(err, file.Close()); err == nil {
		err = s.disk.rename(tmp, path)
	}
	if err != nil {
		_ = s.disk.remove(tmp)
		return nil, fmt.Errorf("%w: write %s: %w", ErrKey, path, err)
	}
	return key, s.disk.syncDir(s.dir)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
