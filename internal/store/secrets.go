package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// seal encrypts a secret with AES-256-GCM: nonce, then ciphertext. owner is
// authenticated with it: a sealed secret moved to another row does not open.
func (s *Store) seal(secret, owner []byte) ([]byte, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, secret, owner), nil
}

func (s *Store) open(sealed, owner []byte) ([]byte, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("open secret: too short")
	}
	secret, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], owner)
	if err != nil {
		return nil, errors.New("open secret: wrong key or damaged row")
	}
	return secret, nil
}

func (s *Store) aead() (cipher.AEAD, error) {
	if len(s.cfg.SecretKey) != 32 {
		return nil, errors.New("encrypt secret: SecretKey is not set")
	}
	block, err := aes.NewCipher(s.cfg.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return aead, nil
}
