package secretlike

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"html"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/statelatch/statelatch/internal/lazyre"
)

const (
	// shortestRun is the length of the shortest run of base64 that is looked into: that of eight bytes.
	shortestRun = 11
	// shortestPrintable is how long text between other bytes is at least, to be looked into.
	shortestPrintable = 6
	// fullLine is how long lines of base64 are at least, and longestIndent how far they are indented at most.
	fullLine      = 60
	longestIndent = 64
	// inflation bounds what is unpacked in a text, at all levels together, as a multiple of its size, and inflateMore
	// beyond. Nothing harmless packs better.
	inflation   = 64
	inflateMore = 64 << 10
)

// unicodeEscape is that of a character of ASCII, in JSON, TOML or a script.
var unicodeEscape = lazyre.New(`\\u00[0-7][0-9a-fA-F]`)

// unescaped is s without the escapes of URLs, of HTML and of text, of several on top of each other, too.
func (c *scan) unescaped(s string) string {
	for range maxDepth {
		before := s
		if strings.Contains(s, "%") {
			s = unescapePercent(s)
		}
		if strings.Contains(s, `\u00`) {
			s = unicodeEscape.ReplaceAllStringFunc(s, func(e string) string {
				raw, _ := hex.DecodeString(e[4:]) // the expression sees to it
				return string(raw)
			})
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

// encoded looks into what is in base64 or in hex in a text.
func (c *scan) encoded(s string) bool {
	c.steps += len(s)
	for at := 0; at < len(s); {
		if base64Digit[s[at]] == 0 {
			at++
			continue
		}
		end := at
		for end < len(s) && (base64Digit[s[end]] != 0 || isWrap(s, end)) {
			if base64Digit[s[end]] != 0 {
				end++
			} else {
				end += wrapped(s, end)
			}
		}
		run := s[at:end]
		at = end + 1
		if len(run) >= shortestRun && (c.hex(run) || c.base64(run)) {
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

// isWrap reports whether there is a line feed at a place that may be within base64: behind a full line of 60 digits or
// more, with more of them on the next line, which may be indented.
func isWrap(s string, at int) bool {
	if s[at] != '\n' && (s[at] != '\r' || at+1 == len(s) || s[at+1] != '\n') || at < fullLine || !allDigits(s[at-fullLine:at]) {
		return false
	}
	next := at + wrapped(s, at)
	return next < len(s) && base64Digit[s[next]] != 0
}

// wrapped is how many bytes of line feeds and indentation there are at such a place.
func wrapped(s string, at int) int {
	n := 1
	if s[at] == '\r' {
		n++
	}
	for at+n < len(s) && n <= longestIndent && (s[at+n] == ' ' || s[at+n] == '\t') {
		n++
	}
	return n
}

func allDigits(s string) bool {
	for i := range len(s) {
		if base64Digit[s[i]] == 0 {
			return false
		}
	}
	return true
}

var toStandard = strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "", " ", "", "\t", "")

// hex looks into a run of hexadecimal digits.
func (c *scan) hex(run string) bool {
	c.steps += len(run)
	raw, err := hex.DecodeString(run)
	return err == nil && utf8.Valid(raw) && printable(raw) && c.text(string(raw))
}

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
	if secret, is := c.packed(raw); is {
		return secret
	}
	switch {
	case isPrivateKey(raw):
		return true
	case utf8.Valid(raw) && printable(raw):
		return c.text(string(raw))
	case len(raw) >= 8 && len(raw)%2 == 0 && (raw[1] == 0 || raw[0] == 0xff && raw[1] == 0xfe): // PowerShell's
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(raw[2*i:])
		}
		return c.text(string(utf16.Decode(units)))
	}
	return c.text(printableParts(raw))
}

// printableParts are those of bytes that are no text as a whole: an archive, another encoding, text with escapes of
// terminals.
func printableParts(raw []byte) string {
	var b strings.Builder
	for part := range bytes.FieldsFuncSeq(raw, func(r rune) bool { return r == utf8.RuneError || r < ' ' && r != '\n' && r != '\r' && r != '\t' }) {
		if len(part) >= shortestPrintable {
			b.Write(part)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func printable(raw []byte) bool {
	for _, b := range raw {
		if b < ' ' && b != '\n' && b != '\r' && b != '\t' {
			return false
		}
	}
	return true
}

// packed looks into what gzip or zlib has packed, as far as the allowance goes. is tells whether anything is.
func (c *scan) packed(raw []byte) (secret, is bool) {
	var r io.Reader
	var err error
	switch {
	case bytes.HasPrefix(raw, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(bytes.NewReader(raw))
	case len(raw) > 2 && raw[0] == 0x78 && (int(raw[0])<<8|int(raw[1]))%31 == 0:
		r, err = zlib.NewReader(bytes.NewReader(raw))
	default:
		return false, false
	}
	if err != nil {
		return false, false
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(c.allowance)+1))
	c.steps += len(plain)
	if c.allowance -= len(plain); c.allowance < 0 {
		return true, true // it cannot be looked into
	}
	if err != nil && len(plain) == 0 {
		return false, false
	}
	return c.bytes(plain), true
}

// isPrivateKey reports whether raw is one in DER, or a store of some.
func isPrivateKey(raw []byte) bool {
	if bytes.HasPrefix(raw, []byte("openssh-key-v1\x00")) || bytes.HasPrefix(raw, []byte{0xfe, 0xed, 0xfe, 0xed}) { // Java's
		return true
	}
	if len(raw) < 2 || raw[0] != 0x30 {
		return false
	}
	if body := raw[min(len(raw), 2+max(0, int(raw[1])-0x80)):]; bytes.HasPrefix(body, []byte{0x02, 0x01, 0x03, 0x30}) {
		return true // PKCS #12
	}
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
