// Package guardhttp is the one kind of webhook that is called, and the one kind of listener beside the store's own.
//
// A webhook is signed where there is a key, reached over TLS or on this machine, and never at an address that hands out
// credentials: the address that is dialled is looked at, so that no name and no answer of a name server leads there.
// Redirects are not followed. What admits to it, which is its path or its query, is in no error and no log. With a
// proxy in the environment, as HTTPS_PROXY names it, the proxy's address is looked at and the proxy looks up the name.
//
// A listener answers those who ask it by its own name, so that no page in a browser reads it by a name of its own that
// leads here.
package guardhttp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/statelatch/statelatch"
)

// MinKey is how many bytes a key has at least.
const MinKey = 16

// CheckKey refuses a key that can be guessed. None is one. The error matches [statelatch.ErrInvalid], and never shows
// it.
func CheckKey(key []byte) error {
	if len(key) > 0 && len(key) < MinKey {
		return fmt.Errorf("%w key: it has %d bytes, want at least %d: openssl rand -hex 32 makes one", statelatch.ErrInvalid,
			len(key), MinKey)
	}
	return nil
}

// services are addresses of clouds' metadata services that are not link-local.
var services = map[netip.Addr]bool{
	netip.MustParseAddr("fd20:ce::254"):       true, // Google
	netip.MustParseAddr("100.100.100.200"):    true, // Alibaba
	netip.MustParseAddr("168.63.129.16"):      true, // Azure
	netip.MustParseAddr("192.0.0.192"):        true, // Oracle
	netip.MustParseAddr("fd00:c1::a9fe:a9fe"): true, // Oracle
}

// serviceNames lead to them; a proxy would look them up.
var serviceNames = map[string]bool{
	"metadata": true, "metadata.google.internal": true, "metadata.goog": true, "metadata.tencentyun.com": true,
	"api.metadata.cloud.ibm.com": true, "instance-data": true, "instance-data.ec2.internal": true,
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	sixToFour   = netip.MustParsePrefix("2002::/16")
	amazon      = netip.MustParsePrefix("fd00:ec2::/32") // its services on every machine: metadata, credentials of pods
	// within are addresses of IPv6 that end with one of IPv4.
	within = []netip.Prefix{
		netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
		netip.MustParsePrefix("::ffff:0:0:0/96"), netip.MustParsePrefix("::/96"),
	}
)

// Forbidden reports whether nothing is sent to ip: it is link-local, unspecified, of many, or a metadata service's, in
// whatever form.
func Forbidden(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	b := ip.As16()
	switch {
	case ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified(), services[ip], thisNetwork.Contains(ip),
		amazon.Contains(ip):
		return true
	case sixToFour.Contains(ip):
		return Forbidden(netip.AddrFrom4([4]byte(b[2:6])))
	case !ip.IsLoopback() && slices.ContainsFunc(within, func(p netip.Prefix) bool { return p.Contains(ip) }):
		return Forbidden(netip.AddrFrom4([4]byte(b[12:16])))
	}
	return false
}

// isNumeric reports whether a host is an address to those who read addresses in decimal, hexadecimal or octal numbers
// and in fewer parts, as a proxy may.
func isNumeric(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	last := host[strings.LastIndexByte(host, '.')+1:]
	if digits, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// refuse looks at the address that a name has led to.
func refuse(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if Forbidden(at.Addr()) {
		return fmt.Errorf("%w: %s: nothing is sent to link-local and metadata addresses", statelatch.ErrInvalid, at.Addr())
	}
	return nil
}

// isLoopback reports whether a host is this machine, by its address or as localhost.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}
