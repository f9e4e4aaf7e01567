package backendconf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Profiles returns the names of the profiles in the shared files of the AWS configuration, each once. A file that
// cannot be read has none.
func Profiles(getenv func(string) string) (names []string) {
	for _, file := range [...]struct{ env, name string }{
		{"AWS_CONFIG_FILE", "config"},
		{"AWS_SHARED_CREDENTIALS_FILE", "credentials"},
	} {
		path := getenv(file.env)
		if path == "" {
			path = filepath.Join(getenv("HOME"), ".aws", file.name)
		}
		body, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(body)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "["); ok {
				name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSuffix(name, "]"), "profile "))
				if !strings.Contains(name, " ") && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}
