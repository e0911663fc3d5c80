"use strict";
// The page as it was served is complete; this keeps it so.
const $ = (id) => document.getElementById(id);

function item(n) {
	const text = document.createElement("p"), by = document.createElement("small"), time = document.createElement("time"), li = document.createElement("li");
	text.textContent = n.text; // never as HTML
	time.dateTime = n.time;
	time.textContent = new Date(n.time).toLocaleTimeString();
	by.append(n.by + ", ", time);
	li.append(text, by);
	return li;
}

function plain(name) {
	const li = document.createElement("li");
	li.textContent = name;
	return li;
}

let shown = 0; // the newest note that is, so that only what is new is read out

function show(notes) {
	const fresh = notes.filter((n) => n.id > shown);
	if (shown === 0) {
		$("notes").replaceChildren(...notes.map(item)); // the first time
	} else {
		$("notes").prepend(...fresh.map(item));
		while ($("notes").children.length > notes.length) $("notes").lastElementChild.remove();
	}
	shown = notes.length ? notes[0].id : 0;
}

const events = new EventSource("/events"); // connects again by itself
events.onopen = () => { $("live").textContent = "live"; };
events.onerror = () => { $("live").textContent = "not live: trying again"; shown = 0; }; // it may be another board then
events.onmessage = (e) => {
	const s = JSON.parse(e.data);
	$("you").textContent = s.you;
	show(s.notes);
	$("who").replaceChildren(...s.who.map(plain));
};

document.forms[0].addEventListener("submit", async (e) => {
	e.preventDefault();
	$("trouble").textContent = "";
	try {
		const resp = await fetch("/notes", { method: "POST", body: new URLSearchParams(new FormData(e.target)), redirect: "manual" });
		if (resp.type !== "opaqueredirect") throw new Error(await resp.text());
		e.target.reset();
	} catch (err) {
		$("trouble").textContent = "Not written: " + err.message;
	}
	$("note").focus();
});
