package resolve

import (
	"net/netip"
	"slices"
)

// MaxAddresses is how many addresses or servers of one name are used. The owner of a zone could list thousands, of hosts
// that belong to others.
const MaxAddresses = 32

// LimitAddresses returns at most MaxAddresses of the addresses. If it has to drop some, it keeps half of each family, or
// more of one if the other has fewer than that. The addresses must be sorted with IPv4 first, and the first ones of each
// family are kept, so the choice does not change from one call to the next. LimitAddresses reuses the slice.
func LimitAddresses[A any](sorted []A, is6 func(A) bool) []A {
	first6 := slices.IndexFunc(sorted, is6)
	if len(sorted) <= MaxAddresses || first6 < 0 {
		return sorted[:min(len(sorted), MaxAddresses)]
	}
	keep4 := min(first6, max(MaxAddresses/2, MaxAddresses-(len(sorted)-first6)))
	return slices.Delete(sorted, keep4, first6)[:MaxAddresses]
}

// limitUnsorted returns the addresses that LimitAddresses selects, in the order of addrs.
func limitUnsorted(addrs []netip.Addr) []netip.Addr {
	if len(addrs) <= MaxAddresses {
		return addrs
	}
	selected := LimitAddresses(slices.Compact(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)), netip.Addr.Is6)
	limited := make([]netip.Addr, 0, MaxAddresses) // frees the memory of the others
	for _, a := range addrs {
		if slices.Contains(selected, a) && !slices.Contains(limited, a) {
			limited = append(limited, a)
		}
	}
	return limited
}
