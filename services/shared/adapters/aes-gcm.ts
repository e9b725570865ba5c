/**
 * OpenSSL's functions for AES-128-GCM (EVP_CIPHER_CTX_new(3)), which Node exports for its addons. They work in place, and
 * on addresses. Those that answer a number answer 1 when all is well.
 */
import koffi from "koffi";

const openssl = koffi.load(null);
type Call = (...args: unknown[]) => number;
type Make = (...args: unknown[]) => unknown;

export const makeContext = openssl.func("void *EVP_CIPHER_CTX_new()") as Make;
export const freeContext = openssl.func("void EVP_CIPHER_CTX_free(void *)") as Make;
export const aes128Gcm = openssl.func("const void *EVP_aes_128_gcm()") as Make;
export const begin = openssl.func(
  "int EVP_CipherInit_ex(void *, const void *, void *, const void *, const void *, int)",
) as Call;
export const update = openssl.func("int EVP_CipherUpdate(void *, void *, void *, const void *, int)") as Call;
export const end = openssl.func("int EVP_CipherFinal_ex(void *, void *, void *)") as Call;
export const control = openssl.func("int EVP_CIPHER_CTX_ctrl(void *, int, int, void *)") as Call;

export const controls = { getTag: 0x10, setTag: 0x11 } as const;
/** For `begin`: to seal or to open, as before. */
export const keepDirection = -1;
export const keyBytes = 16;
export const nonceBytes = 12;
export const tagBytes = 16;
