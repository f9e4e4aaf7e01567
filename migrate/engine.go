package migrate

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// firstWithLockfile is the version of Terraform, and of OpenTofu, that use_lockfile came with (terraform-wire 6).
var firstWithLockfile = release{1, 10, 0}

// Verdict is whether the engines that a root admits know use_lockfile.
type Verdict string

// The verdicts.
const (
	EngineKnows     Verdict = "ok"
	EngineMayBeOld  Verdict = "may-be-too-old"
	EngineIsTooOld  Verdict = "too-old"
	engineVersions          = ">= 1.10"
	constraintToAdd         = `required_version = "` + engineVersions + `"`
)

// Engine is what a root says about versions.
type Engine struct {
	Constraints []string // of its configuration and its version files, as they are written
	Verdict     Verdict
	File        string // what to change; empty: nothing says anything
	Line        int
}

// pin is a version in a file of a version manager.
type pin struct {
	tool, text, file string
	line             int
}

var pinFiles = []string{".terraform-version", ".opentofu-version", ".tool-versions"}

// readPins reads a file of a version manager.
func readPins(file, text string) []pin {
	var pins []pin
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch base := path.Base(file); {
		case len(fields) == 0:
		case base == ".tool-versions":
			if len(fields) > 1 && (fields[0] == ToolTerraform || fields[0] == "opentofu") {
				pins = append(pins, pin{strings.Replace(fields[0], "opentofu", ToolTofu, 1), fields[1], file, i + 1})
			}
		case base == ".opentofu-version":
			return []pin{{ToolTofu, fields[0], file, i + 1}}
		default:
			return []pin{{ToolTerraform, fields[0], file, i + 1}}
		}
	}
	return pins
}

// pinsFor are the nearest pins of each tool, from dir upwards, as version managers look for them.
func (s *scanner) pinsFor(dir, tool string) []pin {
	var found []pin
	for {
		for _, p := range s.pins[dir] {
			if (tool != ToolTofu || p.tool == ToolTofu) && !slices.ContainsFunc(found, func(f pin) bool { return f.tool == p.tool }) {
				found = append(found, p)
			}
		}
		if dir == "." {
			return found
		}
		dir = path.Dir(dir)
	}
}

// required is a version constraint with its place.
type required struct {
	text, file string
	line       int
}

// judgeEngine intersects a root's constraints with each of its pins.
func judgeEngine(requires []required, pins []pin) Engine {
	e := Engine{Verdict: EngineKnows}
	base := span{to: release{math.MaxInt}}
	readable := true
	for _, r := range requires {
		e.Constraints = append(e.Constraints, r.text)
		e.File, e.Line = r.file, r.line
		s, ok := parseConstraint(r.text)
		readable = readable && ok
		base = base.and(s)
	}
	if !firstWithLockfile.less(base.to) { // whatever is pinned
		e.Verdict = EngineIsTooOld
	}
	spans := []span{base}
	for _, p := range pins {
		s, ok := parsePin(p.text)
		if !ok {
			continue
		}
		if len(spans) == 1 && spans[0] == base {
			spans = nil
		}
		spans = append(spans, base.and(s))
		e.Constraints = append(e.Constraints, fmt.Sprintf("%s %s", path.Base(p.file), p.text))
		if e.File == "" || s.from.less(firstWithLockfile) {
			e.File, e.Line = p.file, p.line
		}
	}
	for _, s := range spans {
		switch {
		case e.Verdict == EngineIsTooOld:
		case !s.from.less(firstWithLockfile) && (readable || s != base):
		case !firstWithLockfile.less(s.to):
			e.Verdict = EngineIsTooOld
			return e
		default:
			e.Verdict = EngineMayBeOld
		}
	}
	return e
}

type release [3]int

func (r release) less(o release) bool { return slices.Compare(r[:], o[:]) < 0 }

func (r release) next() release { return release{r[0], r[1], r[2] + 1} }

// span is the versions from from up to, but without, to.
type span struct{ from, to release }

func (s span) and(o span) span {
	if s.from.less(o.from) {
		s.from = o.from
	}
	if o.to.less(s.to) {
		s.to = o.to
	}
	return s
}

var term = regexp.MustCompile(`^(=|!=|>=|<=|~>|>|<)?\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[-+][0-9A-Za-z.+-]+)?$`)

// parseConstraint reads a constraint; false if it is none, or not static. What != leaves out cannot make it newer.
func parseConstraint(text string) (span, bool) {
	all := span{to: release{math.MaxInt}}
	for part := range strings.SplitSeq(text, ",") {
		m := term.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return span{to: release{math.MaxInt}}, false
		}
		var v release
		for i := range v {
			v[i], _ = strconv.Atoi(m[i+2]) // empty: 0
		}
		s := span{to: release{math.MaxInt}}
		switch m[1] {
		case "", "=":
			s = span{v, v.next()}
		case ">=":
			s.from = v
		case ">":
			s.from = v.next()
		case "<":
			s.to = v
		case "<=":
			s.to = v.next()
		case "~>":
			s.from = v
			switch {
			case m[4] != "":
				s.to = release{v[0], v[1] + 1}
			case m[3] != "":
				s.to = release{v[0] + 1}
			}
		}
		all = all.and(s)
	}
	return all, true
}

// parsePin reads what a version manager takes; false where that depends on other files or on the day.
func parsePin(text string) (span, bool) {
	if text == "latest" {
		return span{firstWithLockfile, release{math.MaxInt}}, true
	}
	if strings.ContainsAny(text, "<>=!~:") {
		return span{}, false
	}
	return parseConstraint(text)
}
