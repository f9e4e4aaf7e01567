//go:build !linux

package identity

import "errors"

func scope() string { return "" }

func started(int) (start string, state byte, err error) { return "", 0, errors.ErrUnsupported }

func (Process) look() Liveness { return Unknown }
