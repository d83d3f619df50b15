// Verify a token by the WebCrypto of njs, as there is no library for it.
import fs from 'fs';

const given = JSON.parse(fs.readFileSync('$folder/given.json'));
const HASHES = {'256': 'SHA-256', '384': 'SHA-384', '512': 'SHA-512'};
const NAMES = {ES: 'ECDSA', RS: 'RSASSA-PKCS1-v1_5', PS: 'RSA-PSS', HS: 'HMAC', Ed: 'Ed25519'};
const SALTS = {'256': 32, '384': 48, '512': 64};

function pem(text) {
    return Buffer.from(text.replace(/-----[A-Z ]+-----|\n/g, ''), 'base64');
}

async function verified(token) {
    const parts = token.split('.');
    const kind = given.algorithm.slice(0, 2);
    const bits = given.algorithm.slice(2);
    if (JSON.parse(Buffer.from(parts[0], 'base64url')).alg !== given.algorithm) {
        throw new Error('another algorithm');
    }
    const how = {name: NAMES[kind], hash: HASHES[bits], namedCurve: given.jwk.crv,
                 saltLength: SALTS[bits]};
    let form = 'jwk';
    let material = given.jwk;
    if (kind === 'HS') {
        form = 'raw';
        material = Buffer.from(given.jwk.k, 'base64url');
    } else if (given.as_pem) {
        form = 'spki';
        material = pem(given.pem);
    }
    const key = await crypto.subtle.importKey(form, material, how, false, ['verify']);
    const signature = Buffer.from(parts[2], 'base64url');
    const message = Buffer.from(parts[0] + '.' + parts[1]);
    if (!await crypto.subtle.verify(how, key, signature, message)) {
        throw new Error('another signature');
    }
    return JSON.parse(Buffer.from(parts[1], 'base64url'));
}

async function read(r) {
    try {
        const claims = await verified(r.headersIn['Authorization'].slice('Bearer '.length));
        r.headersOut['X-User'] = claims.sub;
        r.return(200);
    } catch (e) {
        r.error(e.message);
        r.return(401);
    }
}

export default {read};
