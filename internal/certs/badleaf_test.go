package certs

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// TestBadLeaf checks which files fail because of a certificate that cannot be read, and at which depths the others are.
func TestBadLeaf(t *testing.T) {
	leaf, ca := fileLeaf.Leaf.Raw, fileCA.Certificate.Raw
	p := newParts()
	p.serial = []byte{2, 1, 0x85}
	badLeaf := p.der()
	withExtension(oidBasicConstraints, true, []byte{0x30, 3, 1, 1, 0xff})(p)
	badCA := p.der()
	garbage := []byte("AAAA")
	pems := func(ders ...[]byte) (file []byte) {
		for _, der := range ders {
			file = append(file, pemOf("CERTIFICATE", der)...)
		}
		return file
	}
	bag := func(der []byte) []byte {
		return derElement(asn1.SEQUENCE, oidElement(oidCertBag), derElement(context0, derElement(asn1.SEQUENCE,
			oidElement("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01"), derElement(context0, derElement(asn1.OCTET_STRING, der)))))
	}
	keyBag := derElement(asn1.SEQUENCE, oidElement(oidKeyBag), derElement(context0, keyOf(fileLeaf)))
	pkcs12 := func(bags ...[]byte) []byte {
		data := func(content []byte) []byte {
			return derElement(asn1.SEQUENCE, oidElement(oidData), derElement(context0, derElement(asn1.OCTET_STRING, content)))
		}
		return derElement(asn1.SEQUENCE, []byte{2, 1, 3}, data(derElement(asn1.SEQUENCE, data(derElement(asn1.SEQUENCE, bags...)))))
	}
	pkcs7 := func(ders ...[]byte) []byte {
		return derElement(asn1.SEQUENCE, oidElement(oidSignedData), derElement(context0, derElement(asn1.SEQUENCE, []byte{2, 1, 1},
			derElement(asn1.SET), derElement(asn1.SEQUENCE, oidElement(oidData)), derElement(context0, ders...), derElement(asn1.SET))))
	}
	keystore := func(alias byte, ders ...[]byte) []byte { // an entry with a key
		e := join([]byte{0, 0, 0, 1, 0, 1, alias}, make([]byte, 8), []byte{0, 0, 0, 1, 'k', 0, 0, 0, byte(len(ders))})
		for _, der := range ders {
			e = join(e, []byte{0, 0, byte(len(der) >> 8), byte(len(der))}, der)
		}
		return e
	}
	trusted := func(alias byte, der []byte) []byte {
		return join([]byte{0, 0, 0, 2, 0, 1, alias}, make([]byte, 8), []byte{0, 0, byte(len(der) >> 8), byte(len(der))}, der)
	}
	java := func(entries ...[]byte) []byte {
		return join([]byte(magicJKS), []byte{0, 0, 0, 1, 0, 0, 0, byte(len(entries))}, join(entries...), make([]byte, 20))
	}
	for name, c := range map[string]struct {
		file   []byte
		depths []int
		place  string // of the bad leaf; empty if there is none
	}{
		"PEM, leaf":                {pems(badLeaf, ca), []int{1}, "PEM block at line 1"},
		"PEM, leaf and two CAs":    {pems(badLeaf, badCA, ca), []int{2}, "PEM block at line 1"},
		"PEM, not a certificate":   {pems(garbage, ca), []int{1}, "PEM block at line 1"},
		"PEM, before a leaf":       {pems(badLeaf, leaf, ca), []int{1, 2}, "PEM block at line 1"},
		"PEM, CA before a leaf":    {pems(badCA, leaf), []int{1}, "PEM block at line 1"},
		"PEM, CA of a bundle":      {pems(badCA, ca), []int{1}, ""},
		"PEM, last CA of a bundle": {pems(ca, badCA), []int{0}, ""},
		"PEM, CA of a leaf":        {pems(leaf, badCA, ca), []int{0, 2}, ""},
		"PEM, after other text":    {join([]byte("-----BEGIN of the chain\n"), pems(leaf, ca)), []int{0, 1}, ""},
		"PEM, a dash is missing":   {join([]byte("-----BEGIN CERTIFICATE----\nAAAA\n"), pems(ca)), []int{1}, "PEM block at line 1"},
		"PEM, after a key":         {join(keyPEM, pems(badLeaf, ca)), []int{1}, "PEM block at line 6"},
		"DER, leaf":                {join(badLeaf, ca), []int{1}, "certificate 1"},
		"DER, CA of a bundle":      {join(badCA, ca), []int{1}, ""},
		"PKCS#7, leaf":             {pkcs7(badLeaf, ca), []int{1}, "certificate 1"},
		"PKCS#7, CA of a bundle":   {pkcs7(badCA, ca), []int{1}, ""},
		"PKCS#7 in PEM, leaf":      {pemOf("PKCS7", pkcs7(badLeaf, ca)), []int{1}, "certificate 1"},
		"PKCS#12, leaf":            {pkcs12(keyBag, bag(badLeaf), bag(ca)), []int{1}, "certificate 1"},
		"PKCS#12, in reverse":      {pkcs12(bag(ca), bag(badLeaf), keyBag), []int{1}, "certificate 2"},
		"PKCS#12, CA":              {pkcs12(keyBag, bag(badCA), bag(leaf), bag(ca)), []int{0, 1}, ""},
		"PKCS#12, leaf at the end": {pkcs12(bag(ca), bag(badLeaf)), []int{0}, ""}, // a trust store
		"PKCS#12, without a key":   {pkcs12(bag(badCA), bag(ca)), []int{1}, ""},
		"JKS, leaf":                {java(keystore('a', badLeaf, ca)), []int{1}, `entry "a", certificate 1`},
		"JKS, leaf that is a CA":   {java(keystore('a', badCA, ca)), []int{1}, `entry "a", certificate 1`},
		"JKS, leaf after another":  {java(keystore('b', badLeaf, ca), keystore('a', leaf, ca)), []int{0, 1, 3}, `entry "b", certificate 1`},
		"JKS, CA of a leaf":        {java(keystore('a', leaf, badCA, ca)), []int{0, 2}, ""},
		"JKS, trusted CA":          {java(trusted('a', badCA), trusted('b', ca)), []int{1}, ""},
		"JKS, trusted leaf":        {java(trusted('a', badLeaf), trusted('b', ca)), []int{1}, `entry "a", certificate 1`},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := ParseFile(c.file, "", "")
			require.NoError(t, err)
			assert.Equal(t, c.depths, b.Depths)
			assert.Len(t, b.Certificates, len(c.depths))
			assert.Positive(t, b.BadCount)
			if c.place == "" {
				assert.Nil(t, b.BadLeaf)
				return
			}
			require.NotNil(t, b.BadLeaf)
			assert.Equal(t, FileMalformed, b.BadLeaf.Fault)
			assert.Equal(t, len(c.depths), b.BadLeaf.Others)
			var part *PartError
			require.ErrorAs(t, b.BadLeaf, &part)
			assert.Equal(t, c.place, part.Place)
			assert.Contains(t, b.BadLeaf.Error(), "the certificate that a server would present cannot be read: "+c.place)
		})
	}
}

// TestUnreadableInEncryptedPKCS12 checks that a certificate that cannot be read does not hide the others in its part.
func TestUnreadableInEncryptedPKCS12(t *testing.T) {
	dir := filesDir(t)
	openssl := command(t, "openssl", dir)
	openssl("ecparam", "-name", "brainpoolP256r1", "-genkey", "-noout", "-out", "brainpool.key")
	openssl("req", "-x509", "-new", "-key", "brainpool.key", "-subj", "/CN=brainpool", "-out", "ca-brainpool.pem")
	openssl("req", "-x509", "-new", "-key", "brainpool.key", "-subj", "/CN=brainpool", "-addext", "basicConstraints=critical,CA:FALSE", "-out", "brainpool.pem")
	for name, options := range map[string][]string{"AES": nil, "3DES": {"-legacy", "-descert"}, "RC2": {"-legacy"}, "RC2-128": {"-legacy", "-certpbe", "PBE-SHA1-RC2-128"}} {
		t.Run(name, func(t *testing.T) {
			openssl := command(t, "openssl", dir)
			export := func(options ...string) {
				t.Helper()
				openssl(append([]string{"pkcs12", "-export", "-out", "odd.p12", "-passout", "pass:" + secret}, options...)...)
			}
			const why = `a certificate this collector cannot read, "brainpool": its key is on a curve that Go does not have (brainpoolP256r1)`

			export(append(options, "-in", "leaf.pem", "-inkey", "key.pem", "-certfile", "ca-brainpool.pem")...)
			b, err := ReadFile(dir+"/odd.p12", "", secret)
			require.NoError(t, err)
			assert.Equal(t, "leaf 1 bad", found(b))
			assert.Nil(t, b.BadLeaf)
			assert.EqualError(t, b.Bad[0], "certificate 2: "+why)

			export(append(options, "-in", "brainpool.pem", "-inkey", "brainpool.key", "-certfile", "ca.pem")...)
			b, err = ReadFile(dir+"/odd.p12", "", secret)
			require.NoError(t, err)
			assert.Equal(t, "CA 1 bad", found(b))
			assert.Equal(t, []int{1}, b.Depths)
			require.NotNil(t, b.BadLeaf)
			assert.EqualError(t, b.BadLeaf, "the certificate that a server would present cannot be read: certificate 1: "+why)

			export(append(options, "-in", "brainpool.pem", "-inkey", "brainpool.key")...)
			_, err = ReadFile(dir+"/odd.p12", "", secret)
			assert.EqualError(t, requireFault(t, FileMalformed, err), "no certificate can be read from the file: certificate 1: "+why)
		})
	}
}
