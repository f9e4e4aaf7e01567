package resources

import (
	"encoding/json"
	"regexp"
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
	secretKeys  = words("private secret access api auth account encryption signing shared session license")
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
		if secretWords[s] {
			return true
		}
		if i == 0 {
			continue
		}
		before := segments[i-1]
		if (s == "key" || s == "keys") && secretKeys[before] || s == "string" && before == "connection" {
			return true
		}
	}
	return false
}

func payloadName(name string) bool {
	for _, s := range split(name) {
		if payloads[s] {
			return true
		}
	}
	return false
}

// split cuts a name in snake_case, kebab-case, CamelCase or ALL_CAPS into words in small letters.
func split(name string) []string {
	var b strings.Builder
	var before rune
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(before) {
			b.WriteByte(' ')
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			r = ' '
		}
		b.WriteRune(unicode.ToLower(r))
		before = r
	}
	return strings.Fields(b.String())
}

var urlWithPassword = regexp.MustCompile(`://[^\s/:@]*:[^\s/@]+@`)

// secretText recognises secrets by their looks.
func secretText(s string) bool {
	if strings.Contains(s, "PRIVATE KEY-----") || urlWithPassword.MatchString(s) {
		return true
	}
	trimmed := strings.TrimSpace(s)
	if trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return false
	}
	var inner any
	return json.Unmarshal([]byte(trimmed), &inner) == nil && containsSecret(guardNames(inner, false, nil))
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
