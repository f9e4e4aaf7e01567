package migrate

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/lazyre"
)

// naming is a file for -backend-config as a command line names it: a pattern, in which * stands for what is computed.
type naming string

const (
	maxNamings = 500        // of a tree
	maxLooks   = 20_000_000 // whether a naming means a file in a directory
)

var (
	backendConfigFlag = lazyre.New("-backend-config(?:=|[ \t]+|[\"'],[ " +
		"\t]*[\"'])(\"[^\"]+\"|'[^']+'|(?:\\$\\{\\{[^}]*\\}\\}|\\$\\([^)]*\\)|\\{\\{[^}]*\\}\\}|[^\\s\"'`;&|,)\\]])+)")
	computedPart = lazyre.New(`\$\{\{[^}]*\}\}|\$\{[^}]*\}|\$\([^)]*\)|\$\$?[A-Za-z_][A-Za-z0-9_]*|\$\d|\{\{[^}]*\}\}|\{[A-Za-z_.]*\}|<[^>]*>|%[A-Za-z_]+%|\*+`)
)

// namings finds the files for -backend-config that a text names.
func (s *scanner) namings(data []byte) {
	if !bytes.Contains(data, []byte("-backend-config")) || bytes.HasPrefix(data, []byte(scriptHead)) {
		return
	}
	for _, m := range backendConfigFlag.FindAllSubmatch(data, -1) {
		text := strings.Trim(string(m[1]), `"'`)
		pattern := computedPart.ReplaceAllString(text, "*")
		for strings.Contains(pattern, "**") {
			pattern = strings.ReplaceAll(pattern, "**", "*")
		}
		n := naming(path.Clean(pattern))
		if strings.Contains(pattern, "=") || strings.Trim(path.Base(pattern), "*.") == "" ||
			strings.ContainsAny(pattern, `[\`) {
			continue
		}
		s.keepNaming(n)
	}
}

func (s *scanner) keepNaming(n naming) {
	if len(s.named) < maxNamings && !slices.Contains(s.named, n) {
		s.named = append(s.named, n)
	}
}

// names reports whether a command line that is run in dir means the file.
func (n naming) names(dir, file string) bool {
	pattern := string(n)
	if rest, ok := strings.CutPrefix(pattern, "*/"); ok || path.IsAbs(pattern) {
		return ok && within(dir, file) && endsWith(file, rest) // below a directory that is computed
	}
	ok, err := path.Match(path.Join(dir, pattern), file)
	return ok && err == nil
}

// mayName reports whether there is a directory in which it means the file.
func (n naming) mayName(file string) bool {
	pattern := strings.TrimPrefix(string(n), "/")
	for strings.HasPrefix(pattern, "../") || strings.HasPrefix(pattern, "*/") {
		_, pattern, _ = strings.Cut(pattern, "/")
	}
	return endsWith(file, pattern)
}

func endsWith(file, pattern string) bool {
	parts := strings.Split(file, "/")
	n := strings.Count(pattern, "/") + 1
	if n > len(parts) {
		return false
	}
	ok, err := path.Match(pattern, strings.Join(parts[len(parts)-n:], "/"))
	return ok && err == nil
}

// maxPartial is the longest file that is looked at for being one for -backend-config.
const maxPartial = 16 << 10

// partialLine is a line that such a file has.
var partialLine = lazyre.New(`(?m)^\s*(?:bucket|dynamodb_table)\s*=`)

// partials reads the files whose names do not tell, but whose content or a command line does: one is for
// -backend-config if all that it has are arguments of backend "s3". What engines read as variables counts only if a
// command line names it.
func (s *scanner) partials(ctx context.Context) {
	for _, rel := range s.maybe {
		if ctx.Err() != nil {
			return
		}
		base := path.Base(rel)
		named := slices.ContainsFunc(s.named, func(n naming) bool { return n.mayName(rel) })
		if !named && (base == "terraform.tfvars" || strings.HasSuffix(base, ".auto.tfvars") ||
			strings.HasSuffix(base, ".json")) {
			continue
		}
		name := filepath.Join(s.root, filepath.FromSlash(rel))
		real, data, ok := s.readSmall(name)
		if !ok || !named && !partialLine.Match(data) {
			continue
		}
		src := &source{rel: rel, data: data}
		if doc, flat, err := readBackendConfig(src); err != nil || !flat || !named && !telling(doc.places[0]) {
			continue
		}
		s.keep(fileMaybe, rel, real, data)
	}
}

// telling reports whether the arguments of a file that nothing names are enough to know it by.
func telling(p *Place) bool {
	return p.hasTable() && p.has("bucket") || len(p.entries) > 1 && p.has("bucket") &&
		(p.has("key") || p.has("region") || p.has("encrypt")) ||
		p.hasTable() && (p.has("region") || p.has("encrypt"))
}

// sure reports whether a file is for -backend-config even if no configuration is near: its name says so, or a command
// line does and it has a table, or all of a state's address is in it.
func (s *scanner) sure(src *source) bool {
	p := src.doc.places[0]
	return kindOfFile(src.rel) != fileMaybe || p.hasTable() && p.has("bucket") &&
		(p.has("key") || slices.ContainsFunc(s.named, func(n naming) bool { return n.mayName(src.rel) }))
}

// partDirs are names of directories that hold settings for what is beside them.
var partDirs = []string{
	"config", "configs", "conf", "cfg", "backend", "backends", "backend-config", "backend-configs",
	"backend_config", "env", "envs", "environment", "environments", "vars", "tfvars", "settings", "common", ".config",
}

// holder is the directory that one of settings stands in; itself if it is none.
func holder(dir string) string {
	for slices.Contains(partDirs, path.Base(dir)) {
		dir = path.Dir(dir)
	}
	return dir
}

// attach finds the directories that each -backend-config file is for, among those with a backend "s3" without a
// bucket or a key of its own: those in which a command line means it; else its own, or the nearest above; else all
// that are below the directory that it, or the directory of settings that it is in, stands in, unless something is
// nearer to them. Those of no directory are under the empty name.
func (s *scanner) attach(dirs []string) map[string][]*source {
	partial := map[string]bool{}
	var all []string
	for _, dir := range dirs {
		for _, src := range s.dirs[dir] {
			if slices.ContainsFunc(src.doc.places,
				func(p *Place) bool { return p.Kind == KindBackend && (!p.has("bucket") || !p.has("key")) }) && !partial[dir] {
				partial[dir] = true
				all = append(all, dir)
			}
		}
	}
	attached := map[string][]*source{}
	taken := map[*source]bool{}
	around := map[string][]*source{} // by the directory that holds them
	for _, dir := range dirs {
		for _, src := range s.dirs[dir] {
			if len(src.doc.places) == 0 || src.doc.places[0].Kind != KindBackendConfig {
				continue
			}
			if at := s.meant(src.rel, all); len(at) > 0 {
				for _, dir := range at {
					attached[dir] = append(attached[dir], src)
				}
				taken[src] = true
				if beside := holder(dir); beside != dir {
					around[beside] = append(around[beside], src)
				}
				continue
			}
			at := dir
			for !partial[at] && at != "." {
				at = path.Dir(at)
			}
			if partial[at] {
				attached[at] = append(attached[at], src)
			} else {
				around[holder(dir)] = append(around[holder(dir)], src)
			}
		}
	}
	below := map[string]int{} // partial configurations
	for _, dir := range all {
		for at := dir; ; at = path.Dir(at) {
			if below[at]++; at == "." {
				break
			}
		}
	}
	for _, dir := range all {
		for at := dir; len(attached[dir]) == 0; at = path.Dir(at) {
			files := slices.DeleteFunc(slices.Clone(around[at]), func(src *source) bool { return !forAll(src, below[at]) })
			if len(files) > 0 {
				attached[dir] = files
				s.near(dir, files, taken)
			}
			if at == "." {
				break
			}
		}
	}
	for _, files := range around {
		for _, src := range files {
			if !taken[src] && s.sure(src) {
				attached[""] = append(attached[""], src)
			}
		}
	}
	slices.SortFunc(attached[""], func(a, b *source) int { return strings.Compare(a.rel, b.rel) })
	return attached
}

// example is a name of a file that nobody gives to an engine as it is.
var example = lazyre.New(`(?i)example|sample|template|skeleton|\.dist\b`)

// forAll reports whether a file can be for each of n configurations: it is no example, and has no key, which can be
// of one alone.
func forAll(src *source, n int) bool {
	return (n == 1 || !src.doc.places[0].has("key")) && !example.MatchString(path.Base(src.rel)) &&
		!bytes.ContainsAny(src.data, "<>")
}

// meant are the directories in which a command line means the file, wherever that stands.
func (s *scanner) meant(file string, partial []string) (at []string) {
	for _, n := range s.named {
		if !n.mayName(file) {
			continue
		}
		for _, dir := range partial {
			if s.looks++; s.looks > maxLooks {
				return at
			}
			if n.names(dir, file) && !slices.Contains(at, dir) {
				at = append(at, dir)
			}
		}
	}
	return at
}

// near says what was taken to be a configuration's, because it is nearest.
func (s *scanner) near(dir string, files []*source, taken map[*source]bool) {
	s.assumed[dir] = true
	var names []string
	for _, src := range files {
		taken[src] = true
		names = append(names, src.rel)
	}
	for _, src := range s.dirs[dir] {
		for _, p := range src.doc.places {
			if p.Kind == KindBackend {
				s.find("backend-config-near", Note, p.File, p.Line,
					fmt.Sprintf("the rest of %s is taken to be in %s, which is nearest: nothing in the tree names it", dir,
						strings.Join(names, ", ")), "")
				return
			}
		}
	}
}
