package clienthello

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// everything offers all that there is.
func everything() Offer {
	return Offer{
		MinVersion: SSL30, MaxVersion: TLS13, ServerName: "localhost", Suites: Suites(), Groups: Groups(), Schemes: Schemes(),
	}
}

// ask asks a server over TCP.
func ask(t *testing.T, s *tlsfarm.Server, o Offer) (*Answer, error) {
	t.Helper()
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Endpoint())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return Ask(conn, o)
}

// recorded returns the reply as the answer of a server, whatever it is asked.
func recorded(reply io.Reader, o Offer) (*Answer, error) {
	return Ask(struct {
		io.Reader
		io.Writer
	}{reply, io.Discard}, o)
}

func TestAnswers(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	certificate := func(key crypto.Signer) tls.Certificate {
		return root.Intermediate("Intermediate").Issue("leaf", tlsfarm.Key(key))
	}
	rsa, edwards, nist := certificate(tlsfarm.RSAKey(2048)), certificate(ed), certificate(p521)
	for name, c := range map[string]struct {
		cert   tls.Certificate
		groups []tls.CurveID
		suites []uint16 // that are offered; everything if empty
		max    uint16   // of the server
		want   Answer
	}{
		"P-256":        {cert: rsa, groups: []tls.CurveID{tls.CurveP256}, want: Answer{Version: TLS13, Suite: 0x1301, Group: 23, Scheme: 0x0804}},
		"P-384":        {cert: rsa, groups: []tls.CurveID{tls.CurveP384}, want: Answer{Version: TLS13, Suite: 0x1301, Group: 24, Scheme: 0x0804}},
		"P-521":        {cert: nist, groups: []tls.CurveID{tls.CurveP521}, want: Answer{Version: TLS13, Suite: 0x1301, Group: 25, Scheme: 0x0603}},
		"X25519":       {cert: edwards, groups: []tls.CurveID{tls.X25519}, want: Answer{Version: TLS13, Suite: 0x1301, Group: 29, Scheme: 0x0807}},
		"hybrid":       {cert: nist, groups: []tls.CurveID{tls.X25519MLKEM768}, want: Answer{Version: TLS13, Suite: 0x1301, Group: 4588, Scheme: 0x0603}},
		"AES-256":      {cert: nist, suites: []uint16{0x1302}, want: Answer{Version: TLS13, Suite: 0x1302, Group: 4588, Scheme: 0x0603}},
		"ChaCha20":     {cert: rsa, suites: []uint16{0x1303}, want: Answer{Version: TLS13, Suite: 0x1303, Group: 4588, Scheme: 0x0804}},
		"P-256 hybrid": {cert: rsa, groups: []tls.CurveID{tls.SecP256r1MLKEM768}, want: Answer{Version: TLS13, Suite: 0x1301, Group: 4587, Scheme: 0x0804}},
		"P-384 hybrid": {cert: nist, groups: []tls.CurveID{tls.SecP384r1MLKEM1024}, want: Answer{Version: TLS13, Suite: 0x1301, Group: 4589, Scheme: 0x0603}},
		"TLS 1.2":      {cert: edwards, max: tls.VersionTLS12, groups: []tls.CurveID{tls.CurveP384}, want: Answer{Version: TLS12, Suite: 0xc02b, Group: 24, Scheme: 0x0807}},
		"RSA key exchange": {
			cert: rsa, max: tls.VersionTLS12, suites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, want: Answer{Version: TLS12, Suite: 0x002f},
		},
		"TLS 1.0": {
			cert: rsa, max: tls.VersionTLS10, suites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA}, groups: []tls.CurveID{tls.CurveP256},
			want: Answer{Version: TLS10, Suite: 0xc014, Group: 23},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := everything()
			o.Suites = append([]uint16{0x1301, 0xc02b}, o.Suites...) // crypto/tls prefers AES if clients do
			if len(c.suites) > 0 {
				o.Suites = c.suites
			}
			a, err := ask(t, tlsfarm.TLS(&tls.Config{
				Certificates: []tls.Certificate{c.cert}, CurvePreferences: c.groups, MinVersion: tls.VersionTLS10, MaxVersion: c.max,
				CipherSuites: c.suites,
			}), o)
			require.NoError(t, err)
			assert.True(t, slices.EqualFunc(c.cert.Certificate, a.Certificates, bytes.Equal))
			a.Certificates = nil
			assert.Equal(t, c.want, *a)
		})
	}
}

// A server that chooses a group of crypto/tls needs no HelloRetryRequest.
func TestSharesOfAllGroupsOfCryptoTLS(t *testing.T) {
	var groups []tls.CurveID
	s := tlsfarm.TLS(&tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		groups = info.SupportedCurves
		return nil, errors.New("seen")
	}})
	t.Cleanup(s.Close)
	_, err := tls.Dial("tcp", s.Endpoint(), &tls.Config{InsecureSkipVerify: true})
	require.Error(t, err)
	assert.Greater(t, len(groups), 5)
	for _, g := range groups {
		assert.Contains(t, curves, uint16(g), g)
	}
}

// crypto/tls reads our ClientHello and finds in it what was offered.
func TestOffer(t *testing.T) {
	o := everything()
	var seen tls.ClientHelloInfo
	s := tlsfarm.TLS(&tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = *info
		return nil, errors.New("seen")
	}})
	_, err := ask(t, s, o)
	assert.Equal(t, Alert(80), err)
	assert.Equal(t, o.ServerName, seen.ServerName)
	assert.Empty(t, seen.SupportedProtos)
	assert.Equal(t, []uint16{0x304, 0x303, 0x302, 0x301, 0x300}, seen.SupportedVersions)
	assert.Equal(t, append(slices.Clone(o.Suites), 0xff), seen.CipherSuites)
	assert.Len(t, seen.SupportedCurves, len(o.Groups))
	assert.Len(t, seen.SignatureSchemes, len(o.Schemes))

	o.ServerName = "::1"
	var hello bytes.Buffer
	_, err = Ask(struct {
		io.Reader
		io.Writer
	}{new(bytes.Buffer), &hello}, o)
	assert.Equal(t, io.EOF, err)
	assert.NotContains(t, hello.String(), "::1", "an address is no server name")

	hello.Reset()
	o.MaxVersion = SSL30
	_, _ = Ask(struct {
		io.Reader
		io.Writer
	}{new(bytes.Buffer), &hello}, o)
	b := hello.Bytes()
	assert.Equal(t, []byte{22, 3, 0}, b[:3])
	assert.Equal(t, []byte{1, 0}, b[len(b)-2:], "SSL 3.0 has no extensions")
	assert.Equal(t, len(b)-9, int(binary.BigEndian.Uint16(b[7:9])))
}

// handshake returns a record with a handshake message of a type.
func handshake(typ byte, body []byte) []byte {
	b := append([]byte{22, 3, 3, 0, 0, typ, 0, 0, 0}, body...)
	binary.BigEndian.PutUint16(b[3:], uint16(4+len(body)))
	binary.BigEndian.PutUint16(b[7:], uint16(len(body)))
	return b
}

// serverHello returns a ServerHello of a version before TLS 1.3.
func serverHello(version, suite uint16) []byte {
	b := make([]byte, 38)
	binary.BigEndian.PutUint16(b, version)
	binary.BigEndian.PutUint16(b[35:], suite)
	return handshake(typeServerHello, b)
}

func TestRecordedAnswers(t *testing.T) {
	warning := []byte{21, 3, 0, 0, 2, 1, 112}
	dhe := handshake(typeServerKeyExchange, []byte{0, 1, 23, 0, 1, 2, 0, 1, 9, 4, 2, 0, 1, 0})
	for name, c := range map[string]struct {
		reply []byte
		want  Answer
	}{
		"SSL 3.0":               {serverHello(SSL30, 5), Answer{Version: SSL30, Suite: 5}},
		"a warning before":      {slices.Concat(warning, serverHello(TLS10, 5)), Answer{Version: TLS10, Suite: 5}},
		"DHE, signed with DSA":  {slices.Concat(serverHello(TLS12, 0xa2), dhe), Answer{Version: TLS12, Suite: 0xa2, Scheme: 0x0402}},
		"DHE, anonymous":        {slices.Concat(serverHello(TLS12, 0xa6), dhe), Answer{Version: TLS12, Suite: 0xa6}},
		"ECDHE, pre-shared key": {slices.Concat(serverHello(TLS12, 0xc035), handshake(12, []byte{0, 1, 'h', 3, 0, 30, 1, 0})), Answer{Version: TLS12, Suite: 0xc035, Group: 30}},
		"empty certificates": {
			slices.Concat(serverHello(TLS12, 0x9c), handshake(11, append([]byte{0, 0x2e, 0xe0}, make([]byte, 12_000)...))),
			Answer{Version: TLS12, Suite: 0x9c, Certificates: slices.Repeat([][]byte{{}}, MaxCertificates)},
		},
		"HelloRetryRequest": {
			handshake(typeServerHello, slices.Concat([]byte{3, 3}, helloRetryRequest[:], []byte{0, 0x13, 1, 0, 0, 12, 0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 30})),
			Answer{Version: TLS13, Suite: 0x1301, Group: 30, Retry: true},
		},
		"explicit curve":     {slices.Concat(serverHello(TLS12, 0xc02f), handshake(12, []byte{1, 0, 30, 1, 0})), Answer{Version: TLS12, Suite: 0xc02f}},
		"garbage after it":   {slices.Concat(serverHello(TLS12, 0xc02f), []byte("garbage, not TLS")), Answer{Version: TLS12, Suite: 0xc02f}},
		"a list that is cut": {slices.Concat(serverHello(TLS12, 0xc02f), handshake(11, []byte{0, 0, 9, 0, 0, 1, 'x'})), Answer{Version: TLS12, Suite: 0xc02f}},
		"a list that is too long": {
			slices.Concat(serverHello(TLS12, 0xc02f), []byte{22, 3, 3, 0, 4, 11, 255, 255, 255}), Answer{Version: TLS12, Suite: 0xc02f},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := recorded(bytes.NewReader(c.reply), everything())
			require.NoError(t, err)
			assert.Equal(t, c.want, *a)
		})
	}

	for name, c := range map[string]struct {
		reply []byte
		want  error
	}{
		"alert":                   {[]byte{21, 3, 3, 0, 2, 2, 40}, Alert(40)},
		"alert after ServerHello": {slices.Concat(serverHello(TLS12, 0xc02f), []byte{21, 3, 3, 0, 2, 2, 40}), Alert(40)},
		"closed without a group":  {serverHello(TLS12, 0xc02f), io.EOF},
		"an unknown suite":        {serverHello(TLS12, 0xfefe), errNotOffered},
		"an unknown version":      {serverHello(0x7f12, 0xc02f), errNotOffered},
		"version 0":               {serverHello(0, 0xc02f), errNotOffered},
		"close_notify":            {[]byte{21, 3, 3, 0, 2, 1, 0}, io.EOF},
		"closed":                  {nil, io.EOF},
		"cut":                     {[]byte{22, 3, 3}, io.ErrUnexpectedEOF},
		"not TLS":                 {[]byte("HTTP/1.1 400 Bad Request\r\n"), errMalformed},
		"not a ServerHello":       {handshake(typeCertificate, nil), errMalformed},
		"a short ServerHello":     {handshake(typeServerHello, []byte{3, 3}), errMalformed},
		"too long":                {[]byte{22, 3, 3, 0, 4, 2, 255, 255, 255}, errTooLong},
		"an oversized record":     {[]byte{22, 3, 3, 255, 255}, errMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := recorded(bytes.NewReader(c.reply), everything())
			assert.Equal(t, c.want, err)
		})
	}
}

// endless repeats its bytes, and counts how many were read.
type endless struct {
	bytes []byte
	n     int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.bytes[(e.n+i)%len(e.bytes)]
	}
	e.n += len(p)
	return len(p), nil
}

func TestAnswersAreBounded(t *testing.T) {
	for name, repeated := range map[string][]byte{
		"empty records":  {22, 3, 3, 0, 0},
		"warnings":       {21, 3, 3, 0, 2, 1, 90},
		"small messages": handshake(0, nil),
		"one message":    handshake(11, make([]byte, 16_000)),
	} {
		t.Run(name, func(t *testing.T) {
			reply := &endless{bytes: repeated}
			a, err := recorded(io.MultiReader(bytes.NewReader(serverHello(TLS12, 0xc02f)), reply), everything())
			require.NoError(t, err)
			assert.Equal(t, uint16(0xc02f), a.Suite)
			assert.LessOrEqual(t, reply.n, maxAnswer)
			assert.Greater(t, reply.n, 50_000)
		})
	}
}

func TestSilenceEndsWithTheDeadline(t *testing.T) {
	s := tlsfarm.Silent()
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Endpoint())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = Ask(conn, everything())
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// The names of crypto/tls are those of IANA.
func TestNames(t *testing.T) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		assert.Equal(t, s.Name, SuiteName(s.ID))
	}
	assert.Len(t, Suites(), 349)
	assert.Equal(t, "TLS_AES_128_GCM_SHA256", SuiteName(0x1301))
	assert.Equal(t, "x448", GroupName(30))
	assert.Equal(t, "ed448", SchemeName(0x0808))
	assert.Equal(t, "0xFEFE", SuiteName(0xfefe))
	assert.Contains(t, SuiteName(Suites()[0]), "GCM", "the better ones are first")
	assert.Equal(t, "alert 40", Alert(40).Error())
}

// FuzzAsk has the server say anything, and checks that nothing panics and nothing is read beyond the limit.
func FuzzAsk(f *testing.F) {
	f.Add(slices.Concat(serverHello(TLS12, 0xa2), handshake(11, []byte{0, 0, 4, 0, 0, 1, 'x'}), handshake(12, []byte{0, 1, 23, 0, 1, 2, 0, 1, 9, 4, 2, 0, 1, 0})))
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40})
	tls13 := make([]byte, 38, 100)
	tls13[0], tls13[1], tls13[35], tls13[36] = 3, 3, 0x13, 1
	f.Add(handshake(typeServerHello, append(tls13, 0, 12, 0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 30)))
	o := everything()
	o.Groups = []uint16{29} // the keys of the others take time
	f.Fuzz(func(t *testing.T, reply []byte) {
		a, err := recorded(bytes.NewReader(reply), o)
		if a == nil && err == nil {
			t.Fatal("neither an answer nor an error")
		}
	})
}

// A server that follows the client's order must not choose what is worst.
func TestSuitesAreInOrder(t *testing.T) {
	all := Suites()
	at := func(name string) int {
		i := slices.IndexFunc(all, func(id uint16) bool { return SuiteName(id) == name })
		require.GreaterOrEqual(t, i, 0, name)
		return i
	}
	for i, names := 0, []string{
		"TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_RC4_128_MD5", "TLS_ECDHE_RSA_WITH_NULL_SHA",
		"TLS_DH_anon_WITH_AES_128_GCM_SHA256",
	}; i+1 < len(names); i++ {
		assert.Less(t, at(names[i]), at(names[i+1]))
	}
	assert.Less(t, at("TLS_ECDHE_RSA_WITH_NULL_SHA"), at("TLS_PSK_WITH_AES_128_GCM_SHA256"), "a server may have both")
}
