package userdir

import (
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	xdg, home, local := filepath.Join(t.TempDir(), "xdg"), filepath.Join("/", "home", "ann"), filepath.Join("/", "ann", "Local")
	for name, tc := range map[string]struct {
		goos, want string
		env        map[string]string
	}{
		"XDG":                   {"linux", filepath.Join(xdg, "statelatch"), map[string]string{"XDG_STATE_HOME": xdg, "HOME": home}},
		"XDG that is no path":   {"linux", filepath.Join(home, ".local", "state", "statelatch"), map[string]string{"XDG_STATE_HOME": "state", "HOME": home}},
		"home":                  {"darwin", filepath.Join(home, ".local", "state", "statelatch"), map[string]string{"HOME": home, "LOCALAPPDATA": local}},
		"nothing":               {"linux", "", nil},
		"Windows":               {"windows", filepath.Join(local, "statelatch", "state"), map[string]string{"LOCALAPPDATA": local, "HOME": home, "USERPROFILE": home}},
		"Windows, profile only": {"windows", filepath.Join(home, "AppData", "Local", "statelatch", "state"), map[string]string{"USERPROFILE": home}},
		"Windows, HOME only":    {"windows", filepath.Join(home, ".local", "state", "statelatch"), map[string]string{"HOME": home}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := find(func(k string) string { return tc.env[k] }, tc.goos, "XDG_STATE_HOME", "state"); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
