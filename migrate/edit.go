package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// syntax is how the arguments of a place are written.
type syntax int

const (
	syntaxBody   syntax = iota // name = value, a line each
	syntaxObject               // items of an object expression, by lines or commas
	syntaxJSON
)

// entry is one argument where it stands. Offsets are of bytes in the file.
type entry struct {
	name  string
	line  int
	value Value
	expr  hcl.Expression // of endpoints; nil: of others
	key   [2]int
	val   [2]int
}

// byteOrderMark is what some editors begin a file with; engines pass it over.
var byteOrderMark = []byte("\ufeff")

// notSafe is why an edit is a person's to make.
type notSafe struct{ why string }

func (e notSafe) Error() string { return e.why }

var (
	errComputed = notSafe{"its " + argLockfile + " is computed"}
	errComment  = notSafe{"a comment stands inside the argument"}
	errHeredoc  = notSafe{"the value is a heredoc"}
)

// maxSteps of one file; an edit that does not come to its end is none.
const maxSteps = 200

// edit carries out a phase on some places of a file, one argument at a time, and proves the result: it can be read,
// has all that was asked for, and all comments of before.
func edit(src *source, phase int, places map[int]bool) ([]byte, error) {
	now := *src
	steps := 0
	for i := range src.doc.places {
		for places[i] {
			next, err := step(now.data, now.doc.places[i], phase)
			if err != nil {
				return nil, err
			}
			if next == nil {
				break
			}
			now.data = next
			if now.doc, err = read(kindOfFile(path.Base(src.rel)), &now); err != nil {
				return nil, fmt.Errorf("the edited file cannot be read: %w", err)
			}
			if steps++; len(now.doc.places) != len(src.doc.places) || steps > maxSteps {
				return nil, notSafe{"the edit does not come out as it should"}
			}
		}
	}
	if strings.HasSuffix(src.rel, ".json") {
		return now.data, nil
	}
	if bytes.Equal(hclwrite.Format(src.data), src.data) {
		now.data = hclwrite.Format(now.data)
	}
	if !sameComments(src, &now) {
		return nil, errComment
	}
	return now.data, nil
}

// step does the next thing that a phase asks of a place; nil if all is done.
func step(data []byte, p *Place, phase int) ([]byte, error) {
	if p.manual != "" {
		return nil, notSafe{p.manual}
	}
	if phase == 1 {
		return turnOn(data, p)
	}
	for _, name := range []string{argTable, argLockTable, argEndpoint} {
		if e := p.entry(name); e != nil {
			return remove(data, p.syntax, *e, p.entries, p.body)
		}
	}
	e := p.entry(argEndpoints)
	if e == nil {
		return nil, nil
	}
	items, ok := itemsOf(e.expr, data)
	if !ok {
		return nil, nil
	}
	for _, item := range items {
		if item.name != "dynamodb" {
			continue
		}
		if len(items) == 1 {
			return remove(data, p.syntax, *e, p.entries, p.body)
		}
		inner := syntaxObject
		if p.syntax == syntaxJSON {
			inner = syntaxJSON
		}
		return remove(data, inner, item, items, [2]int{})
	}
	return nil, nil
}

// turnOn sets use_lockfile beside the table.
func turnOn(data []byte, p *Place) ([]byte, error) {
	if e := p.entry(argLockfile); e != nil {
		switch {
		case !e.value.Static:
			return nil, errComputed
		case e.value.isTrue():
			return nil, nil
		}
		return splice(data, e.val[0], e.val[1], "true"), nil
	}
	e := p.entry(argTable)
	if e == nil {
		e = p.entry(argLockTable)
	}
	if n := len(p.entries); e == nil && n > 0 {
		e = &p.entries[n-1]
	}
	if e == nil {
		return fill(data, p)
	}
	if isHeredoc(data, *e) {
		return nil, errHeredoc
	}
	return insertAfter(data, p, *e), nil
}

// fill puts use_lockfile into a block that has nothing.
func fill(data []byte, p *Place) ([]byte, error) {
	rest := data[p.head:]
	open := bytes.IndexByte(rest, '{')
	end := open + 1 + bytes.IndexByte(rest[open+1:], '}')
	if p.syntax != syntaxBody || p.head == 0 || open < 0 || end <= open || len(bytes.TrimSpace(rest[open+1:end])) > 0 {
		return nil, notSafe{"there is no argument beside which " + argLockfile + " could stand"}
	}
	lineStart := bytes.LastIndexByte(data[:p.head], '\n') + 1
	newline, indent := lineEnd(data), leadingBlanks(data[lineStart:])
	return splice(data, p.head+open+1, p.head+end, newline+indent+"  "+argLockfile+" = true"+newline+indent), nil
}

func splice(data []byte, from, to int, text string) []byte {
	return bytes.Join([][]byte{data[:from], []byte(text), data[to:]}, nil)
}

func isHeredoc(data []byte, e entry) bool {
	return bytes.HasPrefix(data[e.val[0]:e.val[1]], []byte("<<"))
}

// insertAfter adds use_lockfile = true in the manner of the argument before it.
func insertAfter(data []byte, p *Place, e entry) []byte {
	lineStart := bytes.LastIndexByte(data[:e.key[0]], '\n') + 1
	indent := leadingBlanks(data[lineStart:])
	name := argLockfile
	if data[e.key[0]] == '"' {
		name = `"` + name + `"`
	}
	between := string(data[e.key[1]:e.val[0]]) // blanks and a sign
	if strings.Trim(between, " \t=:") != "" {
		between = " = "
	}
	newline := lineEnd(data)
	switch {
	case p.syntax == syntaxJSON:
		before := data[:e.key[0]]
		gap := string(before[len(bytes.TrimRight(before, " \t\r\n")):])
		return splice(data, e.val[1], e.val[1], ","+gap+name+between+"true")
	case p.body != [2]int{}:
		deeper := newline + indent + "  "
		text := deeper + strings.TrimSpace(string(data[p.body[0]:p.body[1]])) + deeper + aligned(name, between, e) + newline +
			indent
		return splice(data, p.body[0], p.body[1], text)
	}
	end, comma, alone := restOfLine(data, e.val[1])
	if !alone {
		return splice(data, e.val[1], e.val[1], ", "+name+between+"true")
	}
	text := newline + indent + aligned(name, between, e)
	if comma {
		text += ","
	}
	return splice(data, end, end, text)
}

// aligned is the new argument with its sign below that of the argument before it.
func aligned(name, between string, e entry) string {
	pad := e.key[1] - e.key[0] - len(name)
	switch {
	case strings.Contains(between, ":"):
	case pad > 0:
		between = strings.Repeat(" ", pad) + between
	case pad < 0:
		between = " " + strings.TrimLeft(between, " \t")
	}
	return name + between + "true"
}

// lineEnd is how the file ends its lines.
func lineEnd(data []byte) string {
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

func leadingBlanks(line []byte) string {
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

// restOfLine looks at what follows a value: alone if nothing but a comma and comments does up to the end of the line,
// which is at end, before its newline.
func restOfLine(data []byte, at int) (end int, comma, alone bool) {
	for at < len(data) {
		rest := data[at:]
		switch {
		case rest[0] == ' ' || rest[0] == '\t':
			at++
		case rest[0] == ',' && !comma:
			comma = true
			at++
		case rest[0] == '#' || bytes.HasPrefix(rest, []byte("//")):
			if i := bytes.IndexByte(rest, '\n'); i >= 0 {
				rest = rest[:i]
			}
			return at + len(bytes.TrimSuffix(rest, []byte("\r"))), comma, true
		case bytes.HasPrefix(rest, []byte("/*")):
			i := bytes.Index(rest, []byte("*/"))
			if i < 0 {
				return at, comma, false
			}
			at += i + 2
		default:
			return at, comma, rest[0] == '\n' || bytes.HasPrefix(rest, []byte("\r\n"))
		}
	}
	return at, comma, true
}

// remove takes an argument out, with its line if that has nothing else; comments stay.
func remove(data []byte, syn syntax, e entry, all []entry, body [2]int) ([]byte, error) {
	switch {
	case syn == syntaxJSON:
		return removeMember(data, e), nil
	case isHeredoc(data, e):
		return nil, errHeredoc
	case body != [2]int{}:
		return splice(data, body[0], body[1], ""), nil
	}
	from, to := e.key[0], e.val[1]
	end, comma, alone := restOfLine(data, to)
	after := data[to:end]
	if comma {
		to += bytes.IndexByte(after, ',') + 1
	}
	lineStart := bytes.LastIndexByte(data[:from], '\n') + 1
	if lineStart == 0 && bytes.HasPrefix(data, byteOrderMark) {
		lineStart = len(byteOrderMark)
	}
	first := strings.TrimSpace(string(data[lineStart:from])) == ""
	switch {
	case alone && first && strings.TrimSpace(string(data[to:end])) == "": // the line is the argument's alone
		switch next := bytes.IndexByte(data[end:], '\n'); {
		case next >= 0:
			return splice(data, lineStart, end+next+1, ""), nil
		case lineStart > 0:
			lineStart -= len("\n")
			if lineStart > 0 && data[lineStart-1] == '\r' {
				lineStart--
			}
		}
		return splice(data, lineStart, end, ""), nil
	case alone && first: // a comment stays on the line
		return splice(data, from, end-len(bytes.TrimLeft(data[to:end], " \t")), ""), nil
	case comma || alone:
		for to < len(data) && (data[to] == ' ' || data[to] == '\t') {
			to++
		}
		return splice(data, from, to, ""), nil
	}
	// The last of several on a line: the comma before it goes, too.
	if before := bytes.TrimRight(data[:from], " \t\r\n"); len(all) > 1 && bytes.HasSuffix(before, []byte(",")) {
		from = len(before) - 1
	}
	return splice(data, from, to, ""), nil
}

// removeMember takes a member out of a JSON object, with one comma.
func removeMember(data []byte, e entry) []byte {
	from, to := e.key[0], e.val[1]
	const blanks = " \t\r\n"
	after := bytes.TrimLeft(data[to:], blanks)
	if bytes.HasPrefix(after, []byte(",")) {
		next := bytes.TrimLeft(after[1:], blanks)
		return splice(data, from, len(data)-len(next), "")
	}
	before := bytes.TrimRight(data[:from], blanks)
	if bytes.HasSuffix(before, []byte(",")) {
		before = before[:len(before)-1]
	}
	return splice(data, len(before), to, "")
}

// sameComments compares the comments of two versions of a file, those in generated contents included.
func sameComments(a, b *source) bool {
	x, y := commentsOf(a.data, a.rel, true), commentsOf(b.data, b.rel, true)
	return strings.Join(x, "\x00") == strings.Join(y, "\x00")
}

// commentsOf are the comments of a text, and of the texts in it if they may be generated contents.
func commentsOf(data []byte, name string, inner bool) []string {
	var all []string
	tokens, _ := hclsyntax.LexConfig(data, name, hcl.InitialPos)
	for i := 0; i < len(tokens); i++ {
		switch tokens[i].Type {
		case hclsyntax.TokenComment:
			all = append(all, strings.TrimSpace(string(tokens[i].Bytes)))
		case hclsyntax.TokenOHeredoc:
			from := tokens[i].Range.End.Byte
			for i < len(tokens)-1 && tokens[i].Type != hclsyntax.TokenCHeredoc {
				i++
			}
			if inner {
				all = append(all, commentsOf(data[from:tokens[i].Range.Start.Byte], name, false)...)
			}
		}
	}
	return all
}

// isNotSafe reports whether an edit is to be made by hand, and why.
func isNotSafe(err error) (why string, ok bool) {
	var e notSafe
	if errors.As(err, &e) {
		return e.why, true
	}
	return "", false
}
