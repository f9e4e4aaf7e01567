//go:build windows || plan9

package audit

import (
	"fmt"

	"github.com/statelatch/statelatch"
)

func newSyslog(string, string, ...[]byte) (Sink, error) {
	return nil, fmt.Errorf("%w: there is no syslog on this system: use s3://, file: or https://",
		statelatch.ErrUnsupported)
}
