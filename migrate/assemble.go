package migrate

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// assemble makes roots of files.
func (s *scanner) assemble() {
	modules := s.calledModules()
	units := s.findUnits()
	taken := map[*source]bool{} // shared files of terragrunt that a unit includes
	var dirs []string
	for dir := range s.dirs {
		dirs = append(dirs, dir)
	}
	sort.Strings(dirs)
	variants := s.attach(dirs)
	for _, dir := range dirs {
		views := s.views(dir, units[dir])
		if caller, called := modules[dir]; called && units[dir] == nil {
			if strings.HasSuffix(caller, ".hcl") && len(variants[dir]) == 0 &&
				!slices.ContainsFunc(views, func(v view) bool { return slices.ContainsFunc(v.places, (*Place).hasTable) }) {
				continue // terragrunt completes it for each unit
			}
			for _, v := range views {
				for _, p := range v.places {
					s.find("module-backend", Note, p.File, p.Line, "a backend in a module that "+caller+" calls does not count, and "+
						"engines warn of it", "remove the block, or scan the directory alone if it is a root as well")
				}
			}
			continue
		}
		unit := units[dir]
		if unit != nil {
			for _, src := range unit.includes {
				taken[src] = true
			}
		}
		for _, v := range views {
			s.addRoots(dir, v, unit, variants[dir])
		}
		if len(views) == 0 && unit != nil && len(unit.places) > 0 {
			s.addRoots(dir, view{tool: ToolTerragrunt}, unit, nil)
		}
	}
	for _, dir := range dirs { // what no unit includes that is in the tree
		for _, src := range s.dirs[dir] {
			if kindOfFile(path.Base(src.rel)) == fileTerragrunt && path.Base(src.rel) != unitFile && !taken[src] &&
				len(src.doc.places) > 0 && src.doc.places[0].Kind != KindBackendConfig {
				s.addRoots(dir, view{tool: ToolTerragrunt, variant: path.Base(src.rel)},
					&unit{places: src.doc.places, requires: requiresOf(src)}, nil)
			}
		}
	}
	for _, src := range variants[""] { // -backend-config files of no configuration
		p := src.doc.places[0]
		s.find("backend-config-alone", Note, p.File, p.Line,
			"no configuration in the tree leaves its backend to this file, as far as can be seen", "")
		s.add(Root{Dir: path.Dir(src.rel), Variant: path.Base(src.rel), Tool: ToolTerraform, Places: []*Place{p}}, nil)
	}
	slices.SortFunc(s.tree.Roots, func(a, b Root) int {
		return strings.Compare(a.Dir+"\x00"+a.Variant, b.Dir+"\x00"+b.Variant)
	})
}

// calledModules are the directories that a module block of the tree calls, with one caller of each.
func (s *scanner) calledModules() map[string]string {
	called := map[string]string{}
	for dir, sources := range s.dirs {
		for _, src := range sources {
			for _, m := range src.doc.modules {
				if target := path.Join(dir, m); called[target] == "" || src.rel < called[target] {
					called[target] = src.rel
				}
			}
		}
	}
	return called
}

// view is the backend "s3" of a directory as an engine sees it.
type view struct {
	tool     string
	variant  string
	places   []*Place
	requires []required
	blocked  string
}

// views are what the engines see in a directory: one, unless .tofu files make a difference.
func (s *scanner) views(dir string, u *unit) []view {
	terraform, ok1 := s.view(dir, ToolTerraform, u)
	tofu, ok2 := s.view(dir, ToolTofu, u)
	switch {
	case ok1 && ok2 && slices.Equal(terraform.places, tofu.places):
		return []view{terraform}
	case ok1 && ok2:
		terraform.variant, tofu.variant = ToolTerraform, ToolTofu
		return []view{terraform, tofu}
	case ok1:
		return []view{terraform}
	case ok2:
		return []view{tofu}
	}
	return nil
}

func (s *scanner) view(dir, tool string, u *unit) (view, bool) {
	v := view{tool: tool}
	var overrides []*source
	var last other
	for _, src := range s.engineFiles(dir, tool) {
		if u != nil && strings.Contains(src.doc.maker, "Terragrunt") {
			continue // written by terragrunt, from what the unit says
		}
		if isOverride(src.rel) {
			overrides = append(overrides, src)
			continue
		}
		v.places = append(v.places, src.doc.places...)
		v.requires = append(v.requires, requiresOf(src)...)
		if len(src.doc.others) > 0 {
			last = src.doc.others[0]
		}
	}
	if len(v.places) > 1 {
		v.blocked = "it has more than one backend block"
		if tool == ToolTerraform {
			s.find("duplicate-backend", Error, v.places[1].File, v.places[1].Line,
				fmt.Sprintf("a second backend block: the first is at %s:%d, and engines refuse both", v.places[0].File,
					v.places[0].Line), "keep one")
		}
	}
	seen := slices.Clone(v.places)
	for _, src := range overrides { // each replaces the whole backend, and the constraints, of those before it
		if r := requiresOf(src); len(r) > 0 {
			v.requires = r
		}
		if len(src.doc.places) > 0 {
			v.places, last = src.doc.places, other{}
			seen = append(seen, v.places...)
		} else if len(src.doc.others) > 0 {
			v.places, last = nil, src.doc.others[0]
		}
	}
	if len(v.places) == 0 {
		if last.kind != "" && len(seen) > 0 && tool == ToolTerraform {
			s.find("overridden", Note, seen[0].File, seen[0].Line,
				fmt.Sprintf("%s at %s replaces this backend", last.kind, last.at), "")
		}
		return v, false
	}
	for _, p := range seen {
		p.Shadowed = !slices.Contains(v.places, p)
	}
	v.places = seen
	return v, true
}

// engineFiles are the configuration files of a directory that an engine reads.
func (s *scanner) engineFiles(dir, tool string) []*source {
	names := map[string]bool{}
	for _, src := range s.dirs[dir] {
		names[path.Base(src.rel)] = true
	}
	var files []*source
	for _, src := range s.dirs[dir] {
		base := path.Base(src.rel)
		if kindOfFile(base) != fileTerraform {
			continue
		}
		i := slices.IndexFunc(suffixes, func(suffix string) bool { return strings.HasSuffix(base, suffix) })
		tofu := strings.Contains(suffixes[i], ".tofu")
		twin := strings.TrimSuffix(base, suffixes[i]) + strings.Replace(suffixes[i], ".tf", ".tofu", 1)
		if tofu && tool == ToolTofu || !tofu && (tool != ToolTofu || !names[twin]) {
			files = append(files, src)
		}
	}
	return files
}

func isOverride(rel string) bool {
	base := path.Base(rel)
	for _, suffix := range suffixes {
		if name, ok := strings.CutSuffix(base, suffix); ok {
			return name == "override" || strings.HasSuffix(name, "_override")
		}
	}
	return false
}

func requiresOf(src *source) []required {
	var all []required
	for _, r := range src.doc.requires {
		all = append(all, required{r.text, src.rel, r.line})
	}
	return all
}

// moduleRequires are the constraints of the local modules that a directory calls, and that these call.
func (s *scanner) moduleRequires(dir string) (all []required) {
	seen := map[string]bool{dir: true}
	for next := []string{dir}; len(next) > 0 && len(seen) <= maxModules; next = next[1:] {
		for _, src := range s.dirs[next[0]] {
			for _, m := range src.doc.modules {
				target := path.Join(next[0], m)
				if kindOfFile(src.rel) != fileTerraform || seen[target] {
					continue
				}
				seen[target] = true
				next = append(next, target)
				for _, file := range s.engineFiles(target, ToolTerraform) {
					all = append(all, requiresOf(file)...)
				}
			}
		}
	}
	return all
}

// maxModules of a root that are looked at for their constraints.
const maxModules = 200

// unit is what terragrunt's files say about a directory.
type unit struct {
	places   []*Place
	requires []required
	includes []*source
	binary   string // the engine that it is told to run; empty: it is not told
}

// units reads the terragrunt.hcl of each directory with what it includes. One that others include, and that includes
// nothing itself, is shared and not a unit.
func (s *scanner) findUnits() map[string]*unit {
	files := map[string]*source{}
	for _, sources := range s.dirs {
		for _, src := range sources {
			files[src.rel] = src
		}
	}
	units := map[string]*unit{}
	shared := map[*source]bool{}
	for dir := range s.dirs {
		src := files[path.Join(dir, unitFile)]
		if src == nil {
			continue
		}
		u := &unit{}
		units[dir] = u
		for i, inc := range src.doc.includes {
			target := inc.target(dir, src.data, func(f string) bool { return files[f] != nil })
			if evaluated := s.evaluate(dir).Includes; target == "" && len(evaluated) == len(src.doc.includes) {
				target = s.rel(evaluated[i])
			}
			switch from := files[target]; {
			case target == "":
				s.find("not-static", Note, src.rel, inc.line, "what it includes is computed, or not in the tree",
					"scan the directory that has it")
			case from != nil:
				shared[from] = true
				u.includes = append(u.includes, from)
				u.take(from)
			}
		}
		u.take(src)
		for _, m := range src.doc.modules {
			for _, file := range s.engineFiles(path.Join(dir, m), ToolTerraform) {
				u.requires = append(u.requires, requiresOf(file)...)
			}
		}
	}
	for dir := range units {
		if src := files[path.Join(dir, unitFile)]; shared[src] && len(src.doc.includes) == 0 {
			delete(units, dir)
		}
	}
	return units
}

// take adds what a file of the unit says; its remote_state replaces one before it as a whole.
func (u *unit) take(src *source) {
	u.binary = cmp.Or(src.doc.binary, u.binary)
	u.places = append(u.places, src.doc.places...)
	u.requires = append(u.requires, requiresOf(src)...)
}

// live are the unit's places that count: of each kind the last.
func (u *unit) live() []*Place {
	var live []*Place
	for i, p := range u.places {
		if !slices.ContainsFunc(u.places[i+1:], func(q *Place) bool { return q.Kind == p.Kind && q.source != p.source }) {
			live = append(live, p)
		}
	}
	return live
}

// addRoots adds the roots of a view: one, or one for each -backend-config file that stands for another environment.
func (s *scanner) addRoots(dir string, v view, u *unit, files []*source) {
	r := Root{
		Dir: dir, Variant: v.variant, Tool: v.tool, Places: slices.Clone(v.places), blocked: v.blocked,
		assumed: s.assumed[dir],
	}
	requires := slices.Concat(s.moduleRequires(dir), v.requires)
	if u != nil {
		r.Tool, r.binary = ToolTerragrunt, u.binary
		r.Places = append(r.Places, u.live()...)
		requires = append(requires, u.requires...)
	}
	common, alternatives := split(files)
	for _, src := range common {
		r.Places = append(r.Places, src.doc.places[0])
	}
	if len(alternatives) == 0 {
		s.add(r, requires)
		return
	}
	for _, src := range alternatives {
		one := r
		one.Variant = strings.TrimPrefix(r.Variant+" ", " ") + strings.TrimPrefix(strings.TrimPrefix(src.rel, dir), "/")
		one.Places = append(slices.Clone(r.Places), src.doc.places[0])
		s.add(one, requires)
	}
}

// add merges a root's places and judges its phase and its engines.
func (s *scanner) add(r Root, requires []required) {
	r.Args = map[string]Value{}
	for _, p := range r.Places {
		if p.Shadowed {
			continue
		}
		for i := range p.entries {
			e := &p.entries[i]
			if e.value.Static && e.value.Text == "" && !e.value.quoted {
				continue // null: as if it were not there
			}
			r.Args[e.name] = p.value(e)
		}
	}
	if r.Tool == ToolTerragrunt && r.Variant == "" {
		s.resolveUnit(&r)
	}
	r.Phase = phaseOf(&r)
	if r.Tool == ToolTofu {
		r.binary = ToolTofu
	}
	r.Engine = judgeEngine(requires, s.pinsFor(r.Dir, r.binary))
	s.tree.Roots = append(s.tree.Roots, r)
}

// split tells files that are given together from those of which each stands for another environment: these set the same
// argument to different values.
func split(files []*source) (common, alternatives []*source) {
	first := map[string]string{} // by argument
	differ := map[string]bool{}
	for _, f := range files {
		for _, e := range f.doc.places[0].entries {
			if text, ok := first[e.name]; ok && text != e.value.Text {
				differ[e.name] = true
			} else if !ok {
				first[e.name] = e.value.Text
			}
		}
	}
	for _, f := range files {
		if slices.ContainsFunc(f.doc.places[0].entries, func(e entry) bool { return differ[e.name] }) {
			alternatives = append(alternatives, f)
		} else {
			common = append(common, f)
		}
	}
	return common, alternatives
}
