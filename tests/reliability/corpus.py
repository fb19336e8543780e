"""What must be hidden and what must stay: made-up credentials of public shapes, and strings that only look like some."""

from __future__ import annotations

import base64
import hashlib
import uuid

from tests.core.test_redaction import PAIRS, SHAPES

A = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY"  # 32 characters, as random as keys are
H = "0123456789abcdef"

# (text, the part that must be gone); none was ever valid
MORE = [
    (f"tvly-dev-{A}", A),
    (f"pcsk_5abcd_{A}{A}", A),
    (f"glsa_{A}_0a1b2c3d", A),
    (f"glc_eyJ{A}", A),
    (f"hvs.CAESI{A}{A}", A),
    (f"GOCSPX-{A[:28]}", A[:28]),
    (f"dapi{H}{H}", H),
    (f"ATATT3xFfGF0{A}{A}", A),
    (f"lin_api_{A}abcdefgh", A),
    (f"ntn_44444444444{A}", A),
    (f"secret_{A}{A[:11]}", A),
    (f"tgp_v1_{A}-abcde", A),
    (f"sbp_{H}{H}01234567", H),
    (f"nfp_{A}abcd", A),
    (f"figd_{A}abcdefgh", A),
    (f"sntrys_eyJ{A}{A}_abc", A),
    (f"sntryu_{H}{H}", H),
    (f"AGE-SECRET-KEY-1{A.upper()}{A.upper()[:26]}", A.upper()),
    (f"ABSK{A}{A}==", A),
    (f"bedrock-api-key-{A}{A}", A),
    (f"xkeysib-{H}{H}{H}{H}-{A[:16]}", H),
    (f"NRAK-{A.upper()[:27]}", A.upper()[:27]),
    (f"PMAK-{H}01234567-{H}{H}01", H),
    (f"dp.pt.{A}abcdefghijk", A),
    (f"rubygems_{H}{H}{H}", H),
    (f"sq0atp-{A[:22]}", A[:22]),
    (f"pul-{H}{H}01234567", H),
    (f"LTAI5t{A[:18]}", A[:18]),
    (f"https://acme.webhook.office.com/webhookb2/{H}@{H}/IncomingWebhook/{H}{H}/{H}", f"{H}@{H}"),
    ("https://s3.example.org/k?X-Amz-Credential=AKIAQ5X7RTVY2EXAMPLE%2F20260101", "Q5X7RTVY2EXAMPLE"),
    ("mongodb+srv://app:correct9horse@db.example.org/x", "correct9horse"),
    ("amqp://guest:gu3stpw@mq:5672/", "gu3stpw"),
    ("Cookie: sid=31d4d96e407aad42; theme=dark", "31d4d96e407aad42"),
    ("Proxy-Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l", "YWxhZGRpbjpvcGVu"),
    ("GITHUB_TOKEN=correcthorse99 make release", "correcthorse99"),
    ("DefaultEndpointsProtocol=https;AccountKey=Zm9vYmFyYmF6Zm9v==;x", "Zm9vYmFyYmF6"),
]
_UNMISTAKABLE = 8  # characters; shorter parts stand in honest text too
PLANTED = [(text, gone) for text, gone in (*SHAPES, *PAIRS, *MORE) if len(gone) >= _UNMISTAKABLE]

TEXTS = """
The password must be at least eight characters long and hold a digit.
Forgot your password? We send a reset link to your address.
Das Passwort muss mindestens acht Zeichen lang sein.
Das Geheimnis des Erfolgs ist Übung; der Schlüssel liegt unter der Matte.
Le mot de passe doit contenir au moins huit caractères.
La clé est sous le paillasson, et le secret bien gardé.
La contraseña debe tener al menos ocho caracteres.
El secreto del éxito es la práctica constante.
A senha deve ter pelo menos oito caracteres.
La parola d'ordine è cambiata ieri sera.
Het wachtwoord moet minstens acht tekens lang zijn.
Lösenordet måste vara minst åtta tecken långt.
Salasanan on oltava vähintään kahdeksan merkkiä.
Hasło musi mieć co najmniej osiem znaków.
Heslo musí mít alespoň osm znaků.
Пароль должен быть не короче восьми символов.
Секрет успеха в постоянной практике.
密码必须至少包含八个字符。
パスワードは8文字以上である必要があります。
비밀번호는 8자 이상이어야 합니다.
يجب أن تتكون كلمة المرور من ثمانية أحرف على الأقل.
הסיסמה חייבת להכיל לפחות שמונה תווים.
पासवर्ड कम से कम आठ अक्षरों का होना चाहिए।
Mật khẩu phải có ít nhất tám ký tự.
Basic understanding of tokens, cookies and secrets is assumed.
Bearer authentication is described in RFC 6750.
Risk-averse investors should not buy this, says the sk-learn team.
A cookie is something sweet to eat, a token something to hand in.
The secretary keeps the keys of the archive; ask her for access.
Task-force-one and desk-based-work-from-home are words with hyphens.
The API key is shown once; store it well.
Authorization is not authentication.
My private key to happiness: long walks.
He signed with the pass phrase of old, nobody knew it.
The credentials of the ambassador were accepted.
Session tokens expire after an hour; refresh them early.
Please rotate your access keys every ninety days.
Tokens per second: 41.5; tokens in total: 12,034.
""".strip().splitlines()

CODE = """
def login(password: str, token: str | None = None) -> bool:
password = getpass.getpass()
client = OpenAI(api_key=os.environ['OPENAI_API_KEY'])
client = OpenAI(api_key=settings.api_key)
if token == tokens[0]:
for token in tokenizer(text):
max_tokens=1024, prompt_tokens: 12
self.secret = secret
const apiKey = process.env.API_KEY;
headers["Authorization"] = `Bearer ${token}`;
curl -H "Authorization: Bearer $TOKEN" https://example.org
export API_KEY="$(cat key.txt)"
SELECT primary_key, secret FROM tokens WHERE password IS NULL
ALTER TABLE users ADD COLUMN password VARCHAR(255)
kubectl create secret generic db-credentials --from-file=./password
{"type": "object", "properties": {"password": {"type": "string"}}}
{"required": ["username", "password"]}
password: ${{ secrets.DB_PASSWORD }}
api_key: str = Field(..., description="The key")
private static final String SECRET = null;
assert response.cookies is not None
from huggingface_hub import hf_hub_download
npm_config_registry=https://registry.example.org
git clone https://example.org/acme/repo.git
git@example.org:acme/repo.git
s3://bucket/key/path.parquet?versionId=3HL4kqtJvjVBH40Nrjfkd
see https://example.org/a?b=c and http://localhost:8080/x@y
user@example.org: thanks for the keys
token_count = sum(len(t) for t in tokens)
raise ValueError("invalid token")
ERROR: password authentication failed for user "app"
WARN cookie consent missing
let secret = generate_secret();
std::string password;
func (c *Client) Token() (string, error) {
puts "secret: #{secret}"
System.out.println(password);
docker run -e PASSWORD=$PASSWORD image
key: value
tokenizer.eos_token = "</s>"
""".strip().splitlines()

NAMES = """
gpt-4o-mini-2024-07-18 claude-3-5-sonnet-20241022 gemini-2.0-flash-001 llama-3.1-70b-instruct mixtral-8x7b-instruct-v0.1
text-embedding-3-large anthropic.claude-3-sonnet-20240229-v1:0 chatcmpl-9f8a7b6c5d4e call_abc123 fp_abcdef1234
msg_0123456789abcdef run_01HZX3N7Q4 thread_abc123 toolu_01A09q90qw90lq917835lq9 resp_68a1b2c3d4e5 v1.2.3 1.0.0-rc.1+build.5
2.31.0.post1 0.0.0-20240102150405-abcdef123456 3.11.9 numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl
relay_core-0.1.0-py3-none-any.whl python:3.11-slim-bookworm ubuntu-24.04 us-east-1 eu-west-1a 10.0.0.1 2001:db8::1
00:1b:44:11:3a:b7 2026-01-01T00:00:00.000000Z 1767225600 application/json text/event-stream gzip,deflate,br
pypi-publish-workflow-for-releases sk-learn-contrib-packages npm-run-all xai-explainability hf-mirror-list gsk-portfolio
task_force_one_hundred risk_live_test_results disk_test_performance_of_ssd ask_live_support_agents lin_api_reference
secret_santa_gift_exchange_planner figd_note tvly-search dapi-gateway nrak glsa_report sbp_meeting ntn_short dp.pt
AKIAK ASIA LTAI GOCSPX PMAK-collection hvs.example.org cvs.repo tgp_v1_beta pul-request ABSKIRT SGD.USD
""".split()


def benign() -> list[str]:
    """Hundreds of strings that nobody may change."""
    found = [*TEXTS, *CODE, *NAMES]
    for number in range(60):
        digest = hashlib.sha512(str(number).encode())
        raw, text = digest.digest(), digest.hexdigest()
        picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + raw * 20).decode()
        found += [
            text[:40],  # a commit
            text[:64],
            text,
            text[:32],
            str(uuid.UUID(bytes=raw[:16])),
            f"commit {text[:40]} ({text[:7]})",
            f"sha256:{text[:64]}",
            f"data:image/png;base64,{picture}",
            base64.b64encode(raw).decode(),
            base64.urlsafe_b64encode(raw[:24]).decode(),
            f"{number % 9}.{number}.{number % 7}-rc.{number % 5}+g{text[:8]}",
            f"https://cdn.example.org/{text[:32]}/{number}.js?integrity={text[:16]}",
            f"sha512-{base64.b64encode(raw).decode()}",
            f'"resolved": "https://registry.example.org/p-{number}.tgz", "shasum": "{text[:40]}"',
            f"/var/lib/{text[:12]}/overlay2/{text[:64]}/merged",
            f"call_{base64.b32encode(raw).decode()[:24]}",
        ]
    return found
