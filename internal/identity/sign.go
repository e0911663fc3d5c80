package identity

import "crypto/ed25519"

// labelSignature begins everything that a node's key signs outside of TLS. What
// TLS 1.3 signs begins with spaces (RFC 8446 section 4.4.3), and a certificate
// with an ASN.1 head, so no signature passes for one of another kind.
const labelSignature = "weft signature\x00"

// SignatureSize is the length of what [Key.Sign] returns, in bytes.
const SignatureSize = ed25519.SignatureSize

// Sign signs a message for the purpose that the label names (Ed25519, RFC
// 8032). The label, a constant of the caller, must not contain a zero byte; a
// signature under one label is none under another.
func (k *Key) Sign(label string, message []byte) []byte {
	return ed25519.Sign(k.private, signed(label, message))
}

// Verify reports whether signature is what the holder of the key gave for the
// message under the label. A signature of a wrong length is not.
func (k PublicKey) Verify(label string, message, signature []byte) bool {
	return len(signature) == SignatureSize && ed25519.Verify(k[:], signed(label, message), signature)
}

// signed returns the bytes that are signed.
func signed(label string, message []byte) []byte {
	b := make([]byte, 0, len(labelSignature)+len(label)+1+len(message))
	b = append(b, labelSignature...)
	b = append(b, label...)
	b = append(b, 0)
	return append(b, message...)
}
