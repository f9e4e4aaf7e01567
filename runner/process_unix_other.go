//go:build unix && !linux

package runner

import "syscall"

func prepareSystem(*syscall.SysProcAttr) {}
