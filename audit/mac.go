package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"github.com/statelatch/statelatch/internal/guardhttp"
)

// Keys sign events: the first does, and all of them are looked for when a log is verified, so that a key can be
// replaced. Empty: events are not signed. They are in no error and no output.
type Keys [][]byte

// ParseKeys reads keys with commas between them, the one that signs first. The error matches [statelatch.ErrInvalid].
func ParseKeys(text []byte) (Keys, error) {
	var keys Keys
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	for key := range bytes.SplitSeq(text, []byte(",")) {
		if key = bytes.TrimSpace(key); len(key) == 0 {
			continue
		}
		if err := guardhttp.CheckKey(key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// first is the key that signs; nil if there is none.
func (k Keys) first() []byte {
	if len(k) == 0 {
		return nil
	}
	return k[0]
}

// A signed event is the event, with its MAC as the last member. The MAC is of the bytes without that member.
const (
	macBegin = `,"mac":"`
	macEnd   = `"}`
)

// macOf is the HMAC-SHA256 of an event. The words before it keep it apart from the signature of a webhook's body, which
// has the same key.
func macOf(key, raw []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("statelatch audit event\n"))
	mac.Write(raw)
	return hex.EncodeToString(mac.Sum(nil))
}

func (k Keys) sign(raw []byte) []byte {
	if len(k) == 0 {
		return raw
	}
	return append(raw[:len(raw)-1:len(raw)-1], macBegin+macOf(k[0], raw)+macEnd...)
}

// unsigned cuts the MAC off an event; mac is empty if it has none.
func unsigned(raw []byte) (event []byte, mac string) {
	at := len(raw) - len(macBegin) - 2*sha256.Size - len(macEnd)
	if at < 0 || !bytes.HasPrefix(raw[at:], []byte(macBegin)) || !bytes.HasSuffix(raw, []byte(macEnd)) {
		return raw, ""
	}
	return append(raw[:at:at], '}'), string(raw[at+len(macBegin) : len(raw)-len(macEnd)])
}

// signed reports whether an event has a MAC, and whether it is of one of the keys.
func (k Keys) signed(raw []byte) (has, good bool) {
	event, mac := unsigned(raw)
	for _, key := range k {
		if hmac.Equal([]byte(macOf(key, event)), []byte(mac)) {
			return true, true
		}
	}
	return mac != "", false
}
