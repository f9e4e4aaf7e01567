package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// canonicalRequest is the text that a signature covers.
func canonicalRequest(r *http.Request, query url.Values, c *claim) string {
	var b strings.Builder
	b.WriteString(r.Method)
	b.WriteByte('\n')
	path := r.URL.Path
	if path == "" {
		path = "/"
	}
	// S3 encodes the path once and does not clean it: "//" and ".." are parts of keys.
	escape(&b, path, true)
	b.WriteByte('\n')
	canonicalQuery(&b, query)
	b.WriteByte('\n')
	for _, name := range c.signedHeaders {
		b.WriteString(name)
		b.WriteByte(':')
		canonicalHeader(&b, r, name)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(c.signedHeaders, ";"))
	b.WriteByte('\n')
	b.WriteString(c.payload)
	return b.String()
}

// canonicalHeader writes the values of a header, joined by commas, without
// blanks around them and with runs of blanks inside them reduced to one.
func canonicalHeader(b *strings.Builder, r *http.Request, name string) {
	values := r.Header.Values(name)
	// net/http moves these out of the header map.
	switch name {
	case "host":
		values = []string{r.Host}
	case "content-length":
		if len(values) == 0 && r.ContentLength >= 0 {
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
	case "transfer-encoding":
		values = r.TransferEncoding
	}
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		blank := false
		for _, ch := range []byte(strings.TrimSpace(v)) {
			if ch != ' ' || !blank {
				b.WriteByte(ch)
			}
			blank = ch == ' '
		}
	}
}

// canonicalQuery writes the parameters, encoded anew and sorted, without the signature itself.
func canonicalQuery(b *strings.Builder, query url.Values) {
	type pair struct{ name, value string }
	pairs := make([]pair, 0, len(query))
	for name, values := range query {
		if name == "X-Amz-Signature" {
			continue
		}
		for _, v := range values {
			pairs = append(pairs, pair{escaped(name), escaped(v)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if n := strings.Compare(a.name, b.name); n != 0 {
			return n
		}
		return strings.Compare(a.value, b.value)
	})
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
}

func escaped(s string) string {
	var b strings.Builder
	escape(&b, s, false)
	return b.String()
}

// escape writes s with every byte encoded that AWS does not call unreserved.
func escape(b *strings.Builder, s string, keepSlash bool) {
	const hexDigits = "0123456789ABCDEF"
	for i := range len(s) {
		ch := s[i]
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			ch == '-', ch == '.', ch == '_', ch == '~', ch == '/' && keepSlash:
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[ch>>4])
			b.WriteByte(hexDigits[ch&15])
		}
	}
}

// ParseQuery parses a raw query. Unlike url.ParseQuery it keeps every
// parameter, so that what is acted on is what was signed: a semicolon is data, and a
// bad escape is an error (InvalidURI) instead of a parameter that vanishes.
func ParseQuery(raw string) (url.Values, error) {
	values := url.Values{}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return nil, fail("InvalidURI", http.StatusBadRequest, "The query of the request cannot be parsed.")
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}
