// Problems as the gateway writes them (gateway/problem.go): RFC 9457 with a code.

const titles: Record<number, string> = {
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 413: "Request Entity Too Large",
	415: "Unsupported Media Type", 422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
};

export interface Problem {
	status: number;
	code: string;
	detail: string;
	headers?: Record<string, string>;
}

export const unauthorized: Problem = {
	status: 401, code: "unauthorized", detail: "send a valid API key in X-API-Key",
	headers: { "WWW-Authenticate": 'Bearer realm="edgepulse"' },
};

/** A 503 with Retry-After, up to 2 s later than asked, so that clients do not come back as one. */
export function unavailable(code: string, detail: string, seconds: number): Problem {
	return { status: 503, code, detail, headers: { "Retry-After": String(seconds + Math.floor(Math.random() * 3)) } };
}

export function answerProblem(p: Problem, requestID: string, path: string): Response {
	return answer(p.status, "application/problem+json", requestID, {
		type: "urn:edgepulse:problem:" + p.code, title: titles[p.status] ?? "", status: p.status, detail: p.detail,
		instance: path, code: p.code, request_id: requestID,
	}, p.headers);
}

export function answer(status: number, contentType: string, requestID: string, body: unknown, more: Record<string, string> = {}): Response {
	return new Response(JSON.stringify(body) + "\n", {
		status,
		headers: {
			"Content-Type": contentType, "Cache-Control": "no-store", "X-Request-Id": requestID, "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			"Strict-Transport-Security": "max-age=31536000", ...more,
		},
	});
}
