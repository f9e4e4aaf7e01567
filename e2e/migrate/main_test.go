// Package migrate moves the states of real engines from DynamoDB's locks to lock objects, and holds the IAM policies
// against the calls that are made.
package migrate

import (
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
