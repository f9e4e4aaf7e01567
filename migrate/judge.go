package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

const (
	idCommandLine = "command-line"
	idTemplate    = "template"
	idRemoteState = "remote-state-table"
)

// titles say what findings are about.
var titles = map[string]string{
	"table-only":            "Locks are in the DynamoDB table alone",
	"both-locks":            "Locks are in both places",
	"no-lock":               "State is locked",
	"incomplete":            "The tree has all arguments of the backend",
	"mixed-phases":          "All roots of a state exclude each other",
	"two-tables":            "All roots of a state use one table",
	"shared-state":          "Each state has one root",
	"engine-too-old":        "Engines know use_lockfile",
	"engine-may-be-too-old": "Constraints admit no engine that does not know use_lockfile",
	"lockfile-string":       "use_lockfile is a boolean",
	"not-static":            "Configurations can be read without an engine",
	"generated":             "Backends are in files that people edit",
	"duplicate-backend":     "A configuration has one backend",
	"overridden":            "No override replaces the backend",
	"module-backend":        "Modules have no backend",
	"backend-config-alone":  "Files for -backend-config belong to a configuration",
	"backend-config-near":   "Something names a configuration's files for -backend-config",
	"command-line":          "No script passes a table on a command line",
	"template":              "No template writes a backend with a table",
	"remote-state-table":    "No terraform_remote_state reads digests of the table",
	"unreadable":            "Files can be read",
}

// judge adds what is to be said of the roots, and sorts all findings.
func (s *scanner) judge() {
	t := s.tree
	for i := range t.Roots {
		s.judgeRoot(&t.Roots[i])
	}
	s.judgeStates()
	s.judgeWorkspaces()
	for _, sources := range s.dirs {
		for _, src := range sources {
			for _, line := range src.doc.readers {
				s.find(idRemoteState, Warning, src.rel, line, "a terraform_remote_state checks what it reads by a digest in the "+
					"table, which nobody writes after phase 2", "phase 2: drop the table there before")
			}
			for _, u := range src.doc.skipped {
				s.find("not-static", Warning, src.rel, u.line, u.why+": whether it has a backend \"s3\" is not known",
					"look at it yourself")
			}
		}
	}
	order := func(a, b Finding) int {
		worse := slices.Index(severities, b.Severity) - slices.Index(severities, a.Severity)
		return cmp.Or(worse, strings.Compare(a.File, b.File), a.Line-b.Line, strings.Compare(a.ID, b.ID),
			strings.Compare(a.Text, b.Text))
	}
	slices.SortFunc(t.Findings, order)
	t.Findings = slices.CompactFunc(t.Findings, func(a, b Finding) bool { return order(a, b) == 0 })
}

func (s *scanner) judgeRoot(r *Root) {
	first := r.Places[0]
	for _, p := range r.Places {
		if !p.Shadowed {
			first = p
			break
		}
	}
	file, line := first.File, first.Line
	table := r.Table()
	switch r.Phase {
	case PhaseTable:
		s.find("table-only", Warning, table.File, table.Line,
			fmt.Sprintf("%s locks in the table %s alone", r.Name(), shown(table)), "statelatch migrate plan -phase 1")
	case PhaseBoth:
		s.find("both-locks", Note, table.File, table.Line,
			fmt.Sprintf("%s locks in both places; the table %s can go once every checkout and job has this", r.Name(),
				shown(table)), "statelatch migrate plan -phase 2")
	case PhaseNone:
		s.find("no-lock", Error, file, line, r.Name()+" has no lock: two runs at a time can lose a state",
			"add use_lockfile = true")
	case PhaseUnknown:
		if v := r.Args[argLockfile]; !v.Set() || v.Static {
			s.find("incomplete", Warning, file, line, r.Name()+": the tree does not have all its arguments; a command line or "+
				"an expression has the rest, and its lock perhaps", "look at what runs init there")
		}
	}
	for _, name := range []string{"bucket", "key", argTable, argLockTable, argLockfile} {
		if v := r.Args[name]; v.Set() && !v.Static {
			why := "is computed, so it is not known here"
			if v.unknown != "" {
				why += ": cannot evaluate " + v.unknown
			}
			s.find("not-static", Note, v.File, v.Line, fmt.Sprintf("%s = %s %s", name, v.Source, why), "")
		}
	}
	if v := r.Args[argLockfile]; v.quoted && v.Static && v.Text != "" {
		s.find("lockfile-string", Note, v.File, v.Line,
			fmt.Sprintf("use_lockfile is the string %q: engines convert it, other programs may not", v.Text),
			"use_lockfile = "+v.Text)
	}
	for _, p := range r.Places {
		if maker := p.source.doc.maker; maker != "" {
			s.find("generated", Note, p.File, p.Line, "the file is "+maker, "change what generates it")
		}
	}
	if r.Phase != PhaseLockfile && r.Phase != PhaseNone { // the one has its engines, the other asks nothing of them
		s.judgeVersions(r, file, line)
	}
}

func (s *scanner) judgeVersions(r *Root, file string, line int) {
	e := r.Engine
	says := "nothing in the tree says which"
	if e.File != "" {
		file, line = e.File, e.Line
		says = strings.Join(e.Constraints, "; ")
	}
	switch e.Verdict {
	case EngineIsTooOld:
		s.find("engine-too-old", Error, file, line,
			fmt.Sprintf("%s admits only engines before 1.10, which refuse use_lockfile (%s)", r.Name(), says), e.fix)
	case EngineMayBeOld:
		s.find("engine-may-be-too-old", Warning, file, line,
			fmt.Sprintf("%s admits engines before 1.10, which refuse use_lockfile (%s)", r.Name(), says), e.fix)
	}
}

func shown(v Value) string {
	if v.Static {
		return fmt.Sprintf("%q", v.Text)
	}
	return v.Source
}

// judgeStates compares the roots of each state, each with the first that it differs from.
func (s *scanner) judgeStates() {
	byState := map[string][]*Root{}
	for i := range s.tree.Roots {
		if id := s.tree.Roots[i].identity(); id != "" {
			byState[id] = append(byState[id], &s.tree.Roots[i])
		}
	}
	for id, roots := range byState {
		for i, r := range roots[1:] {
			before := roots[:i+1]
			at := r.Args["key"]
			if o := roots[0]; r.Dir != o.Dir {
				s.find("shared-state", Warning, at.File, at.Line, fmt.Sprintf("%s writes %s, and so does %s", r.Name(), id,
					o.Name()), "give it a key of its own, unless both are meant to be one")
			}
			if o := first(before, func(o *Root) bool { return !excludes(o.Phase, r.Phase) }); o != nil {
				s.find("mixed-phases", Error, at.File, at.Line,
					fmt.Sprintf("%s is at phase %q and %s at phase %q of %s: they do not exclude each other", r.Name(), r.Phase,
						o.Name(), o.Phase, id), "bring both to phase 1")
				continue
			}
			b := r.Table()
			if o := first(before, func(o *Root) bool {
				a := o.Table()
				return a.Set() && b.Set() && a.Static && b.Static && a.Text != b.Text && (!r.UseLockfile() || !o.UseLockfile())
			}); o != nil {
				s.find("two-tables", Error, b.File, b.Line,
					fmt.Sprintf("%s locks %s in the table %q and %s in %q: they do not exclude each other", r.Name(), id, b.Text,
						o.Name(), o.Table().Text), "use one table")
			}
		}
	}
}

// judgeWorkspaces finds roots whose state is that of another's workspace: PREFIX/WORKSPACE/KEY.
func (s *scanner) judgeWorkspaces() {
	type place struct{ bucket, endpoint, prefix, key string }
	roots := map[place]*Root{}
	prefixes := map[string][]string{} // by bucket
	for i := range s.tree.Roots {
		r := &s.tree.Roots[i]
		ref, ok := r.Ref()
		if !ok || r.Args[argPrefix].Set() && !r.Args[argPrefix].Static {
			continue
		}
		roots[place{ref.Bucket, r.endpoint(), r.prefix(), ref.Key}] = r
		if !slices.Contains(prefixes[ref.Bucket], r.prefix()) && len(prefixes[ref.Bucket]) < maxPrefixes {
			prefixes[ref.Bucket] = append(prefixes[ref.Bucket], r.prefix())
		}
	}
	for i := range s.tree.Roots {
		r := &s.tree.Roots[i]
		ref, _ := r.Ref()
		for _, prefix := range prefixes[ref.Bucket] {
			workspace, key, ok := statelatch.CutWorkspace(ref.Key, prefix)
			if o := roots[place{ref.Bucket, r.endpoint(), prefix, key}]; ok && o != nil && o != r {
				at := r.Args["key"]
				s.find("shared-state", Warning, at.File, at.Line, fmt.Sprintf("%s writes %s, and so does the workspace %q of %s",
					r.Name(), ref, workspace, o.Name()), "give it a key of its own, unless both are meant to be one")
			}
		}
	}
}

// maxPrefixes of a bucket that are tried on each key.
const maxPrefixes = 1000

// first of some roots that is so; nil if none is.
func first(roots []*Root, is func(*Root) bool) *Root {
	if i := slices.IndexFunc(roots, is); i >= 0 {
		return roots[i]
	}
	return nil
}

// excludes reports whether clients of two phases exclude each other. Of an unknown one it is
// assumed.
func excludes(a, b Phase) bool {
	switch {
	case a == PhaseUnknown || b == PhaseUnknown:
		return true
	case a == PhaseNone || b == PhaseNone:
		return a == b
	}
	return a == b || a == PhaseBoth || b == PhaseBoth
}

var (
	commandLine = lazyre.New(`-backend-config(?:=|\s+)["']?(?:dynamodb_table|lock_table)=`)
	blockStart  = lazyre.New(`backend\s+"s3"\s*\{|"backend"\s*:\s*\{\s*"s3"`)
	tableLine   = lazyre.New(`^\s*"?dynamodb_table"?\s*[=:]`)
)

// mentions looks through a script for a table that no configuration shows; blocks, too, where it may be a template.
func (s *scanner) mentions(rel, text string, blocks bool) {
	inBlock := false
	for i, line := range strings.Split(text, "\n") {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "//") {
			continue
		}
		inBlock = inBlock || blocks && blockStart.MatchString(line)
		switch {
		case commandLine.MatchString(line):
			s.find(idCommandLine, Warning, rel, i+1, "a command line passes the table",
				"phase 1: add -backend-config=use_lockfile=true; phase 2: drop the table")
		case inBlock && tableLine.MatchString(line):
			s.find(idTemplate, Warning, rel, i+1, "a script or template writes a backend \"s3\" with a table",
				"phase 1: add use_lockfile = true; phase 2: drop the table")
		}
	}
}
