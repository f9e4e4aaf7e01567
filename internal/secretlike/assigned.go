package secretlike

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/statelatch/statelatch/internal/lazyre"
)

const (
	// maxName is how far before an equals sign or a colon a name may begin, maxValue how much of a value is looked at.
	maxName  = 64
	maxValue = 256
)

// assigns recognises DB_PASSWORD=x, password: x, "password": "x", password => x, token:x, and YAML's values on the next
// line.
func (c *scan) assigns(s string) bool {
	masked := withoutARNs(s)
	lineStart := 0
	for at := range len(s) {
		c.steps++
		switch masked[at] {
		case '\n':
			lineStart = at + 1
		case '=', ':':
			name := nameBefore(masked[max(0, at-maxName):at])
			if c.steps += len(name); name == "" || classOf(name) == classNone && !special(name) {
				continue
			}
			if c.steps += maxValue; assigned(s, lineStart, at, name) {
				return true
			}
		}
	}
	return false
}

// special names are judged with their values alone.
func special(name string) bool {
	segments := split(name)
	if len(segments) == 0 {
		return false
	}
	switch segments[len(segments)-1] {
	case "authorization", "encrypt", "bearer", "cookie", "auth", "id", "sig":
		return true
	}
	return false
}

var inARN = lazyre.New(`\barn:[a-z-]*:[A-Za-z0-9-]+:[a-z0-9-]*:[0-9A-Za-z*]*:[^\s"'=&;,]*`)

// withoutARNs is s with x for every byte of an ARN: arn:aws:secretsmanager:r:1:secret:name assigns nothing.
func withoutARNs(s string) string {
	if !strings.Contains(s, "arn:") {
		return s
	}
	return inARN.ReplaceAllStringFunc(s, func(a string) string { return strings.Repeat("x", len(a)) })
}

// nameBefore is the name at the end of s.
func nameBefore(s string) string {
	s = strings.TrimRight(s, " \t\"'`\\]")
	at := strings.LastIndexFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' && r != '.' && r != utf8.RuneError
	})
	if at >= 0 {
		_, size := utf8.DecodeRuneInString(s[at:])
		return s[at+size:]
	}
	return s
}

var (
	blockScalar = lazyre.New(`^(?:![\w!/:.-]*\s+|&\w+\s+)*(?:[|>][-+]?[0-9]?[-+]?)?[ \t]*(?:#.*)?$`)
	nodeMarks   = lazyre.New(`^(?:(?:&\w+|!\S+)[ \t]+)+`) // YAML's anchors and tags
	jsonValue   = lazyre.New(`^\s*"([^"]*)"\s*(?:[,}\]]|\n|$)`)
	credentials = lazyre.New(`^(?i:basic|bearer|token|apikey|splunk|negotiate) [^\s"'\\;,]+`)
	scopeVerbs  = words("read write create update delete list manage view get edit execute")
	imageTag    = lazyre.New(`^(?:latest|stable|v?\d+(?:\.[\w-]+)+(?:@sha256)?)$`)
)

// assigned reports whether the equals sign or colon at a place gives a secret to a name.
func assigned(s string, lineStart, at int, name string) bool {
	sign := s[at]
	if sign == ':' && (at > 0 && s[at-1] == ':' || strings.HasPrefix(s[at:], "::") && !strings.HasPrefix(s[at:], ":: ")) {
		return false // Token::new, but not LDIF's base64
	}
	rest := s[at+1 : min(len(s), at+1+maxValue)]
	rest = strings.TrimLeft(rest, "=>~:") // ==, =>, :=
	line, _, whole := strings.Cut(rest, "\n")
	line = strings.TrimSpace(strings.TrimSuffix(line, "\r"))
	if sign == ':' && line == "" && whole && at > 0 && s[at-1] == '"' { // JSON, in lines that are indented alike
		if m := jsonValue.FindStringSubmatch(rest); m != nil {
			return namedSecret(name, m[1])
		}
	}
	if sign == ':' && whole && blockScalar.MatchString(line) {
		return nextLine(s[at:], indent(s[lineStart:at]), name)
	}
	if line == `\` || line == `"""` || line == "'''" || strings.HasPrefix(line, "<<") {
		return nextLine(s[at:], -1, name)
	}
	value := firstValue(line)
	if m := credentials.FindStringSubmatch(line); m != nil {
		value = m[0] // of two words
	}
	if sign == ':' && line != "" && !unicode.IsSpace(rune(s[at+1])) && (imageTag.MatchString(value) || scopeVerbs[value]) {
		return false
	}
	return namedSecret(name, value)
}

var (
	standIn = lazyre.New(`^(?:\(sensitive(?: value)?\)|\(known after apply\)|<[A-Za-z][A-Za-z _-]*>)`)
	braced  = lazyre.New(`^\{([^{}"'\s:=]+)\}`) // ODBC's values
)

// firstValue is the value that a line begins with, without its quotes.
func firstValue(line string) string {
	if templated.MatchString(line) {
		return "" // what it is made of is looked at by itself
	}
	if m := standIn.FindString(line); m != "" {
		return m
	}
	if m := braced.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	for _, quotes := range []string{`"""`, "'''"} {
		if inside, ok := strings.CutPrefix(line, quotes); ok {
			inside, _, _ = strings.Cut(inside, quotes)
			return inside
		}
	}
	line = strings.TrimLeft(nodeMarks.ReplaceAllString(line, ""), " \t[\\")
	if line == "" || line[0] == '{' {
		return ""
	}
	if quote := line[0]; quote == '"' || quote == '\'' || quote == '`' {
		line = line[1:]
		if end := strings.IndexByte(line, quote); end >= 0 {
			line = line[:end]
		}
		if quote == '\'' && strings.HasPrefix(line, "$") {
			return "'" + line // it names no variable
		}
		return strings.TrimSuffix(line, `\`)
	}
	if end := strings.IndexByte(line, '}'); end > 0 && strings.HasPrefix(line, "${") {
		return line[:end+1]
	}
	if end := strings.IndexAny(line, " \t\"';&,)}]|"); end >= 0 {
		line = line[:end]
	}
	return line
}

// nextLine reports whether what follows the line of a name is a secret: a block of YAML, a list, or a value on a line
// of its own. It is indented by more than margin, or a list.
func nextLine(s string, margin int, name string) bool {
	_, after, ok := strings.Cut(s[:min(len(s), maxValue)], "\n")
	if !ok {
		return false
	}
	for line := range strings.Lines(after) {
		text := strings.TrimSpace(line)
		if text == "" {
			continue
		}
		item := strings.HasPrefix(text, "- ")
		if in := indent(line); in < margin || in == margin && !item {
			return false
		}
		text = strings.TrimPrefix(text, "- ")
		if member, value, isMember := strings.Cut(text, ":"); isMember && !strings.ContainsAny(member, " \t/") && (value == "" || value[0] == ' ') {
			member = strings.Trim(member, `"'`)
			if classOf(name) == classWeak {
				return false // its members speak for themselves
			}
			value = strings.TrimSpace(value)
			return classOf(member) != classNone || value != "" && strings.ContainsRune("|>", rune(value[0])) || !aboutMember(member) && namedSecret("secret", firstValue(value))
		}
		return namedSecret(name, firstValue(text))
	}
	return false
}

// aboutMember reports whether a member below a secret's name, as in the references to secrets of Kubernetes, is
// harmless.
func aboutMember(name string) bool {
	segments := split(name)
	return len(segments) > 0 && (aboutTail(segments[len(segments)-1]) || segments[len(segments)-1] == "key" && len(segments) == 1 || weakTails[segments[len(segments)-1]])
}

// indent is the number of blanks that a line begins with. A dash of a list counts as one.
func indent(line string) int {
	return len(line) - len(strings.TrimLeft(line, " \t-"))
}
