package backendconf_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/statelatch/statelatch/backendconf"
)

func TestProfiles_OfBothFiles(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(home, "elsewhere")
	for file, text := range map[string]string{
		filepath.Join(home, ".aws", "config"): "[default]\nregion = x\n[profile prod]\n [profile dev]\n[sso-session my sso]\n",
		elsewhere:                             "[prod]\n[old]\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"HOME": home, "AWS_SHARED_CREDENTIALS_FILE": elsewhere}
	if got, want := backendconf.Profiles(func(k string) string { return env[k] }), []string{"default", "prod", "dev", "old"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := backendconf.Profiles(func(string) string { return filepath.Join(home, "nowhere") }); len(got) != 0 {
		t.Errorf("without files: got %q", got)
	}
}
