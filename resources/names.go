package resources

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// guardNames replaces what is secret by its name, or a name above it, or by its looks. Maps and lists change in place. payload, if not
// nil, names more.
func guardNames(v any, secret bool, payload func(string) bool) any {
	switch v := v.(type) {
	case map[string]any:
		if secret {
			return secretUnlessEmpty(v, len(v))
		}
		if isDynamic(v) {
			v["value"] = guardNames(v["value"], false, payload)
			return v
		}
		named := namedSecret(v)
		for k, e := range v {
			if n, ok := e.(json.Number); ok && secretNumber(k) {
				v[k] = Secret{n}
				continue
			}
			inside := secretName(k) || payload != nil && payload(k) || named && strings.EqualFold(k, "value")
			v[k] = guardNames(e, inside, nil)
		}
		return v
	case []any:
		if secret {
			return secretUnlessEmpty(v, len(v))
		}
		for i, e := range v {
			v[i] = guardNames(e, false, nil)
		}
		return v
	case string:
		if v != "" && (secret || secretText(v)) {
			return Secret{v}
		}
	}
	return v
}

func secretUnlessEmpty(v any, n int) any {
	if n == 0 {
		return v
	}
	return Secret{v}
}

// namedSecret recognises {"name": "DB_PASSWORD", "value": ...}, as containers have their environment.
func namedSecret(m map[string]any) bool {
	for k, v := range m {
		if s, ok := v.(string); ok && (strings.EqualFold(k, "name") || strings.EqualFold(k, "key")) && secretName(s) {
			return true
		}
	}
	return false
}

// secretWords say it alone, secretKeys before the word "key" or "keys".
var (
	secretWords = words("password passwords passwd pwd passphrase passcode pin otp secret secrets token tokens jwt credential credentials creds pem psk privatekey secretkey accesskey apikey")
	secretEnds  = strings.Fields("password passwd passphrase secret token apikey privatekey secretkey accesskey kubeconfig")
	secretKeys  = words("private secret access api auth account encryption signing shared session license master primary secondary client")
	payloads    = words("data value values result content payload plaintext hash json base64")
)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}

func secretName(name string) bool {
	segments := split(name)
	for i, s := range segments {
		if secretWord(s) {
			return true
		}
		if i == 0 {
			continue
		}
		before := segments[i-1]
		switch strings.TrimSuffix(s, "s") {
		case "key":
			if secretKeys[before] {
				return true
			}
		case "string", "config":
			if before == "connection" || before == "kube" {
				return true
			}
		}
	}
	return false
}

// secretWord knows dbpassword, too.
func secretWord(s string) bool {
	return secretWords[s] || slices.ContainsFunc(secretEnds, func(end string) bool { return strings.HasSuffix(s, end) })
}

// secretNumber reports whether a number of that name is a secret: pin is one, password_length is none.
func secretNumber(name string) bool {
	segments := split(name)
	return len(segments) > 0 && secretWord(segments[len(segments)-1])
}

func payloadName(name string) bool {
	for _, s := range split(name) {
		if payloads[s] {
			return true
		}
	}
	return false
}

// split cuts a name in snake_case, kebab-case, CamelCase, DBCamelCase or ALL_CAPS into words in small letters, without the
// number that a word ends with.
func split(name string) []string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) {
			before := runes[i-1]
			if !unicode.IsUpper(before) || i+1 < len(runes) && unicode.IsLower(runes[i+1]) {
				b.WriteByte(' ')
			}
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			r = ' '
		}
		b.WriteRune(unicode.ToLower(r))
	}
	words := strings.Fields(b.String())
	for i, w := range words {
		if w != "base64" {
			words[i] = strings.TrimRight(w, "0123456789")
		}
	}
	return words
}

var urlWithPassword = regexp.MustCompile(`://[^\s/:@]*:[^\s/@]+@`)

// secretText recognises secrets by their looks.
func secretText(s string) bool {
	if strings.Contains(s, "PRIVATE KEY-----") || urlWithPassword.MatchString(s) {
		return true
	}
	trimmed := strings.TrimSpace(s)
	if trimmed != "" && (trimmed[0] == '{' || trimmed[0] == '[') {
		var inner any
		d := json.NewDecoder(strings.NewReader(trimmed))
		d.UseNumber()
		if d.Decode(&inner) == nil && !d.More() {
			return containsSecret(guardNames(inner, false, nil))
		}
	}
	return assignsSecret(s)
}

// maxName is how far before an equals sign or a colon a name may begin.
const maxName = 64

// assignsSecret recognises DB_PASSWORD=x and password: x in scripts, YAML, connection strings and URLs.
func assignsSecret(s string) bool {
	for at := 0; ; at++ {
		n := strings.IndexAny(s[at:], "=:")
		if n < 0 {
			return false
		}
		at += n
		behind := s[at+1:]
		if s[at] == ':' && strings.TrimLeft(behind, " \t\r\n") == behind { // as in an ARN
			continue
		}
		if line, _, _ := strings.Cut(behind, "\n"); strings.Trim(line, " \t\r\"'=") == "" {
			continue
		}
		name := strings.TrimRight(s[max(0, at-maxName):at], " \t\"'")
		name = name[strings.LastIndexFunc(name, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' && r != '.'
		})+1:]
		if secretName(name) {
			return true
		}
	}
}

func containsSecret(v any) bool {
	switch v := v.(type) {
	case Secret:
		return true
	case map[string]any:
		for _, e := range v {
			if containsSecret(e) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if containsSecret(e) {
				return true
			}
		}
	}
	return false
}
