package secretlike

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"html"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// shortestRun is the length of the shortest run of base64 that is looked into: that of eight bytes.
	shortestRun = 11
	// inflation bounds what is unpacked, as a multiple of what it is packed in, and inflateMore beyond. Nothing
	// harmless packs better.
	inflation   = 64
	inflateMore = 64 << 10
)

// unescaped is s without the escapes of URLs and HTML, of several on top of each other, too.
func (c *scan) unescaped(s string) string {
	for range maxDepth {
		before := s
		if strings.Contains(s, "%") {
			s = unescapePercent(s)
		}
		if strings.Contains(s, "&quot;") || strings.Contains(s, "&lt;") || strings.Contains(s, "&#") {
			s = html.UnescapeString(s)
		}
		if c.steps += len(before); s == before {
			break
		}
	}
	return s
}

// unescapePercent passes over what is no escape.
func unescapePercent(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		if s = s[i:]; len(s) >= 3 {
			if raw, err := hex.DecodeString(s[1:3]); err == nil {
				b.Write(raw)
				s = s[3:]
				continue
			}
		}
		b.WriteByte('%')
		s = s[1:]
	}
	b.WriteString(s)
	return b.String()
}

// encoded looks into what is in base64 in a text.
func (c *scan) encoded(s string) bool {
	c.steps += len(s)
	for at := 0; at < len(s); {
		if base64Digit[s[at]] == 0 {
			at++
			continue
		}
		end := at
		for end < len(s) && (base64Digit[s[end]] != 0 || end+1 < len(s) && isWrap(s, end)) {
			end++
		}
		run := s[at:end]
		at = end + 1
		if len(run) >= shortestRun && c.base64(run) {
			return true
		}
	}
	return false
}

var base64Digit = func() (is [256]byte) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_") {
		is[b] = 1
	}
	return is
}()

// isWrap reports whether there is a line feed at a place that may be within base64: between full lines of 60 to 76
// digits.
func isWrap(s string, at int) bool {
	if s[at] == '\r' && at+1 < len(s) && s[at+1] == '\n' {
		return at >= 60 && allDigits(s[at-60:at])
	}
	before := at
	if s[at] == '\n' && at > 0 && s[at-1] == '\r' {
		before--
	}
	return s[at] == '\n' && before >= 60 && allDigits(s[before-60:before]) && base64Digit[s[at+1]] != 0
}

func allDigits(s string) bool {
	for i := range len(s) {
		if base64Digit[s[i]] == 0 {
			return false
		}
	}
	return true
}

var toStandard = strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "")

// base64 looks into a run of base64 digits of either alphabet.
func (c *scan) base64(run string) bool {
	c.steps += len(run)
	digits := toStandard.Replace(run)
	if len(digits)%4 == 1 {
		return false
	}
	raw, err := base64.RawStdEncoding.DecodeString(digits)
	if err != nil {
		return false
	}
	return c.bytes(raw)
}

// bytes looks into what was decoded.
func (c *scan) bytes(raw []byte) bool {
	c.steps += len(raw)
	switch {
	case bytes.HasPrefix(raw, []byte{0x1f, 0x8b}):
		return c.gzip(raw)
	case bytes.HasPrefix(raw, []byte{0x30, 0x82}), bytes.HasPrefix(raw, []byte{0x30, 0x81}), bytes.HasPrefix(raw, []byte{0x30, 0x2e}):
		return isPrivateKey(raw)
	case utf8.Valid(raw) && printable(raw):
		return c.text(string(raw))
	case len(raw) >= 8 && len(raw)%2 == 0 && (raw[1] == 0 || raw[0] == 0xff && raw[1] == 0xfe): // PowerShell's
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(raw[2*i:])
		}
		return c.text(string(utf16.Decode(units)))
	}
	return false
}

func printable(raw []byte) bool {
	for _, b := range raw {
		if b < ' ' && b != '\n' && b != '\r' && b != '\t' {
			return false
		}
	}
	return true
}

func (c *scan) gzip(raw []byte) bool {
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return false
	}
	limit := inflation*len(raw) + inflateMore
	plain, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	c.steps += len(plain)
	if len(plain) > limit {
		return true // it cannot be looked into
	}
	if err != nil && len(plain) == 0 {
		return false
	}
	return c.text(string(plain))
}

// isPrivateKey reports whether raw is one in DER.
func isPrivateKey(raw []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(raw); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(raw); err == nil {
		return true
	}
	_, err := x509.ParseECPrivateKey(raw)
	return err == nil
}

// userPassword reports whether s is USER:PASSWORD, in base64 or as it is.
func userPassword(s string) bool {
	if raw, err := base64.StdEncoding.DecodeString(s); err == nil && utf8.Valid(raw) && printable(raw) {
		s = string(raw)
	}
	user, password, ok := strings.Cut(s, ":")
	return ok && user != "" && password != "" && !strings.ContainsAny(user, " /")
}
