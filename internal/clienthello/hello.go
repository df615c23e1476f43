// Package clienthello asks a TLS server what it supports. It sends a ClientHello that may offer anything ever registered,
// also what crypto/tls does not support, and reads what the server chooses. It never finishes a handshake.
//
// In TLS 1.3 the certificate and what follows it are encrypted. They can be read if the server chooses a group and a
// cipher suite that Go's cryptography has. In older versions they are plain text.
package clienthello

import (
	"crypto"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"net/netip"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Versions that crypto/tls also has.
const (
	SSL30 = 0x0300
	TLS10 = 0x0301
	TLS12 = 0x0303
	TLS13 = 0x0304
)

// Offer is what a ClientHello offers. Each list is in order of preference. It offers no ALPN protocols, so that a server
// does not refuse it for those.
type Offer struct {
	MinVersion, MaxVersion uint16   // from SSL30 to TLS13
	Suites                 []uint16 // of all versions
	Groups                 []uint16
	Schemes                []uint16 // signature schemes
	ServerName             string   // not sent if it is empty or an address
}

// Extensions (RFC 8446, section 4.2).
const (
	extServerName           = 0
	extSupportedGroups      = 10
	extPointFormats         = 11
	extSignatureAlgorithms  = 13
	extExtendedMasterSecret = 23
	extSupportedVersions    = 43
	extKeyShare             = 51
)

// renegotiationInfo is a suite that stands for an empty renegotiation_info extension (RFC 5746, section 3.3). Unlike the
// extension, every server can read it.
const renegotiationInfo = 0x00ff

// marshal returns the ClientHello as a handshake message.
func (o *Offer) marshal(shares []keyShare) ([]byte, error) {
	random := make([]byte, 64)
	_, _ = rand.Read(random) // never fails
	var b cryptobyte.Builder
	b.AddUint8(typeClientHello)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(min(o.MaxVersion, TLS12)) // TLS 1.3 is in supported_versions
		b.AddBytes(random[:32])
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
			if o.MaxVersion >= TLS13 { // as middleboxes expect (RFC 8446, appendix D.4)
				b.AddBytes(random[32:])
			}
		})
		addList(b, append(slices.Clone(o.Suites), renegotiationInfo))
		b.AddBytes([]byte{1, 0})  // no compression
		if o.MaxVersion > SSL30 { // SSL 3.0 has no extensions, and some of its servers refuse them
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { o.addExtensions(b, shares) })
		}
	})
	return b.Bytes()
}

func (o *Offer) addExtensions(b *cryptobyte.Builder, shares []keyShare) {
	add := func(id uint16, content func(b *cryptobyte.Builder)) {
		b.AddUint16(id)
		b.AddUint16LengthPrefixed(content)
	}
	if _, err := netip.ParseAddr(o.ServerName); err != nil && o.ServerName != "" {
		add(extServerName, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint8(0) // host_name
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(o.ServerName)) })
			})
		})
	}
	add(extExtendedMasterSecret, func(*cryptobyte.Builder) {})
	add(extSupportedGroups, func(b *cryptobyte.Builder) { addList(b, o.Groups) })
	add(extPointFormats, func(b *cryptobyte.Builder) { b.AddBytes([]byte{3, 0, 1, 2}) })
	add(extSignatureAlgorithms, func(b *cryptobyte.Builder) { addList(b, o.Schemes) })
	if o.MaxVersion < TLS13 {
		return
	}
	add(extSupportedVersions, func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
			for v := o.MaxVersion; v >= o.MinVersion; v-- {
				b.AddUint16(v)
			}
		})
	})
	add(extKeyShare, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, s := range shares {
				b.AddUint16(s.group)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.public()) })
			}
		})
	})
}

func addList(b *cryptobyte.Builder, list []uint16) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, v := range list {
			b.AddUint16(v)
		}
	})
}

// keyShare is our half of a key exchange. In a hybrid group it has a key of an elliptic curve and one of ML-KEM.
type keyShare struct {
	group uint16
	key   *ecdh.PrivateKey
	kem   crypto.Decapsulator // nil if the group is not hybrid
}

const groupX25519MLKEM768 = 4588

// curves are all groups that crypto/tls has, and their curves. Whatever the server prefers among them, it can answer without
// a HelloRetryRequest.
var curves = map[uint16]ecdh.Curve{
	23: ecdh.P256(), 24: ecdh.P384(), 25: ecdh.P521(), 29: ecdh.X25519(),
	4587: ecdh.P256(), groupX25519MLKEM768: ecdh.X25519(), 4589: ecdh.P384(),
}

// newKeyShares returns a share for each of the groups that is in curves, in the same order (RFC 8446, section 4.2.8).
func newKeyShares(groups []uint16) (shares []keyShare, err error) {
	for _, g := range groups {
		curve, ok := curves[g]
		if !ok {
			continue
		}
		s := keyShare{group: g}
		if s.key, err = curve.GenerateKey(rand.Reader); err != nil {
			return nil, err
		}
		switch g {
		case 4587, groupX25519MLKEM768:
			s.kem, err = mlkem.GenerateKey768()
		case 4589:
			s.kem, err = mlkem.GenerateKey1024()
		}
		if err != nil {
			return nil, err
		}
		shares = append(shares, s)
	}
	return shares, nil
}

func (s *keyShare) public() []byte {
	point := s.key.PublicKey().Bytes()
	if s.kem == nil {
		return point
	}
	return s.join(point, s.kem.Encapsulator().Bytes())
}

// join returns the two parts of a hybrid share or secret in the order of the group: only X25519MLKEM768 has that of ML-KEM
// first (draft-ietf-tls-ecdhe-mlkem, section 4).
func (s *keyShare) join(curve, kem []byte) []byte {
	if s.group == groupX25519MLKEM768 {
		return slices.Concat(kem, curve)
	}
	return slices.Concat(curve, kem)
}

// agree returns the secret that is shared with the server.
func (s *keyShare) agree(peer []byte) ([]byte, error) {
	point, ciphertext := peer, []byte(nil)
	if s.kem != nil {
		size := len(s.key.PublicKey().Bytes())
		if len(peer) < size {
			return nil, errMalformed
		}
		if s.group == groupX25519MLKEM768 {
			size = len(peer) - size
			ciphertext, point = peer[:size], peer[size:]
		} else {
			point, ciphertext = peer[:size], peer[size:]
		}
	}
	public, err := s.key.Curve().NewPublicKey(point)
	if err != nil {
		return nil, err
	}
	secret, err := s.key.ECDH(public)
	if err != nil || s.kem == nil {
		return secret, err
	}
	second, err := s.kem.Decapsulate(ciphertext)
	return s.join(secret, second), err
}
