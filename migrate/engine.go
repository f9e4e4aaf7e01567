package migrate

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// firstWithLockfile is the version of Terraform, and of OpenTofu, that use_lockfile came with.
var firstWithLockfile = release{1, 10, 0}

// Verdict is whether the engines that a root admits know use_lockfile.
type Verdict string

// The verdicts.
const (
	EngineKnows     Verdict = "ok"             // every version that may run knows use_lockfile
	EngineMayBeOld  Verdict = "may-be-too-old" // one that is too old may run, too
	EngineIsTooOld  Verdict = "too-old"        // no version that may run knows it
	engineVersions          = ">= 1.10"
	constraintToAdd         = `required_version = "` + engineVersions + `"`
)

// Engine is what a root says about versions.
type Engine struct {
	Constraints []string // of its configuration and of the files that name a version, as they are written
	Verdict     Verdict  // whether they know use_lockfile
	File        string   // what to change; empty: nothing says anything
	Line        int      // in File, from 1

	fix string // empty if nothing is in the way
}

// pinsFor are what the nearest directory says of each tool, from dir upwards, as version managers look for it. Where it
// says several things, all count. The user's word is for where nothing is said but by jobs and images, or cannot be
// read. An empty tool stands for both.
func (s *scanner) pinsFor(dir, tool string) []pin {
	var found []pin
	var known []string // tools
	for {
		var here []string
		for _, p := range s.pins[dir] {
			if (tool == "" || p.tool == tool) && !slices.Contains(known, p.tool) && (s.engine == nil || !p.job) {
				here = append(here, p.tool)
				if p.text == "" && s.engine != nil {
					p = *s.engine
				}
				found = append(found, p)
			}
		}
		known = append(known, here...)
		if dir == "." {
			break
		}
		dir = path.Dir(dir)
	}
	if len(found) == 0 && s.engine != nil {
		found = append(found, *s.engine)
	}
	return found
}

// parseEngine reads the user's word for the engine that runs: a version, perhaps behind a tool. Errors match
// [statelatch.ErrInvalid].
func parseEngine(text string) (*pin, error) {
	if text == "" {
		return nil, nil
	}
	p := pin{tool: ToolTerraform, text: strings.TrimSpace(text)}
	for _, tool := range []string{"terraform", "opentofu", "tofu"} {
		if rest, ok := strings.CutPrefix(p.text, tool); ok {
			p.tool, p.text = toolNamed(tool), strings.TrimLeft(rest, " @")
			break
		}
	}
	var ok bool
	if p.means, ok = p.span(); !ok {
		return nil, fmt.Errorf("%w engine %q: want a version such as 1.11.4, or \"tofu 1.10\"", statelatch.ErrInvalid, text)
	}
	return &p, nil
}

// required is a version constraint with its place.
type required struct {
	text, file string
	line       int
}

// What to do about engines that may be too old, by what says so.
const (
	fixConstraint = constraintToAdd
	fixManager    = "raise it to 1.10 or later"
	fixJob        = "raise it to 1.10 or later; if something else runs there, say what: -engine VERSION"
	fixUnread     = "write a version there, or say which it is: -engine VERSION"
	fixUnknown    = "say what runs there: -engine VERSION, a version file, or " + constraintToAdd
)

// judgeEngine intersects a root's constraints with each of its pins.
func judgeEngine(requires []required, pins []pin) Engine {
	e := Engine{Verdict: EngineKnows, fix: fixUnknown}
	base := span{to: release{maxRelease}}
	readable := true
	for _, r := range requires {
		e.says(r.text)
		s, ok := parseConstraint(r.text)
		readable = readable && ok
		if firstWithLockfile.less(base.to) {
			e.File, e.Line = r.file, r.line
		}
		base = base.and(s)
	}
	if !firstWithLockfile.less(base.to) { // whatever is pinned
		e.Verdict, e.fix = EngineIsTooOld, fixConstraint
	}
	var spans []span
	for _, p := range pins {
		s := p.means
		switch {
		case p.text == minRequired && readable && base.from != release{}:
			s = span{base.from, base.from.next()}
		case p.text == minRequired, p.text == "":
			s = span{to: release{maxRelease}}
		}
		spans = append(spans, base.and(s))
		e.says(p.name() + " " + cmp.Or(p.text, "(no version that can be read)"))
		if e.Verdict == EngineIsTooOld || !base.and(s).from.less(firstWithLockfile) {
			continue
		}
		switch e.fix = fixManager; {
		case p.job:
			e.fix = fixJob
		case p.text == "":
			e.fix = fixUnread
		}
		if p.file != "" {
			e.File, e.Line = p.file, p.line
		}
	}
	if len(spans) == 0 {
		spans = append(spans, base)
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
	if e.Verdict == EngineKnows {
		e.fix = ""
	}
	return e
}

// says adds a constraint, once.
func (e *Engine) says(text string) {
	if !slices.Contains(e.Constraints, text) {
		e.Constraints = append(e.Constraints, text)
	}
}

type release [3]int

// maxRelease is beyond all versions.
const maxRelease = math.MaxInt

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

var bound = lazyre.New(`^(=|!=|>=|<=|~>|>|<)?\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[-+][0-9A-Za-z.+-]+)?$`)

// parseConstraint reads a constraint; false if it is none, or not static. What != leaves out cannot make it newer.
func parseConstraint(text string) (span, bool) {
	all := span{to: release{maxRelease}}
	for part := range strings.SplitSeq(text, ",") {
		m := bound.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return span{to: release{maxRelease}}, false
		}
		var v release
		for i := range v {
			v[i], _ = strconv.Atoi(m[i+2]) // empty: 0
		}
		s := span{to: release{maxRelease}}
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

// name is what says the version.
func (p pin) name() string {
	if p.file == "" {
		return "-engine"
	}
	return p.file
}
