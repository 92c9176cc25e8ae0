// For Zabbix: the script of a media type "Webhook", or of a global script of type "Webhook" with
// the scope "Action operation". Needs Zabbix 6.0 or newer. Posts all its parameters but `url` and
// `token` as JSON; throws, so that Zabbix tries again, unless vigie has the event on disk.
var params = JSON.parse(value);
var url = params.url;
var token = params.token;
delete params.url;
delete params.token;

var request = new HttpRequest();
request.addHeader('Content-Type: application/json');
if (token) {
    request.addHeader('Authorization: Bearer ' + token);
}
// Zabbix posts up to three times if an answer gets lost; vigie keeps the event once.
request.addHeader('Idempotency-Key: zabbix ' + [params.event_id, params.event_value, params.event_update_status, params.time].join(' '));

var answer = request.post(url, JSON.stringify(params));
if (request.getStatus() !== 202) {
    throw 'vigie answered ' + request.getStatus() + ': ' + answer;
}
return answer;
