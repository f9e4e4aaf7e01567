// Package run runs engines and other commands under "statelatch run", at a terminal and in CI: signals, deaths, the
// shim, and the record that stays.
package run

import (
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
