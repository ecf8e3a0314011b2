/** The cue task as a board: the cue, the two answers, and the answers so far. */

import { colour } from "./colours";
import type { Board } from "./tasks";

const LETTERS = "ABCDEFGH";
const COLUMNS = 5;
const ANSWERS = 12;
const HEAD = 90; // pixels for the words above
const FOOT = 80; // and for the answers so far

export function letter(index: number): string {
  return LETTERS[index] ?? String(index + 1);
}

/** Draws the boards side by side. */
export function drawBoards(canvas: HTMLCanvasElement, boards: Board[]): void {
  const ratio = Math.min(window.devicePixelRatio, 2);
  const { clientWidth, clientHeight } = canvas;
  canvas.width = clientWidth * ratio;
  canvas.height = clientHeight * ratio;
  const pen = canvas.getContext("2d")!;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = colour("--air");
  pen.fillRect(0, 0, clientWidth, clientHeight);
  const width = clientWidth / boards.length;
  boards.forEach((board, index) => {
    pen.save();
    pen.translate(index * width, 0);
    drawBoard(pen, board, width, clientHeight, index === 0 ? "--learn" : "--twin");
    pen.restore();
  });
}

function drawBoard(
  pen: CanvasRenderingContext2D,
  board: Board,
  width: number,
  height: number,
  own: string,
): void {
  const room = height - HEAD - FOOT;
  const unit = Math.min(width / 9, room / 5);
  const top = HEAD + Math.max(0, (room - 4.2 * unit) / 2);
  const left = width / 2 - 4 * unit;
  drawCue(pen, board, left, top, unit, own);
  drawAnswers(pen, board, left + 5.4 * unit, top, unit, own);
  drawPast(pen, board, width / 2, height - 38);
}

function drawCue(
  pen: CanvasRenderingContext2D,
  board: Board,
  left: number,
  top: number,
  unit: number,
  own: string,
): void {
  const pattern = board.patterns[board.cue];
  const shown = board.phase === "cue";
  const rows = Math.ceil(pattern.length / COLUMNS);
  const side = Math.min(unit * 0.86, (unit * 4.6) / rows);
  pattern.forEach((bit, index) => {
    const x = left + (index % COLUMNS) * side;
    const y = top + Math.floor(index / COLUMNS) * side;
    pen.beginPath();
    pen.roundRect(x + 2, y + 2, side - 4, side - 4, 5);
    pen.fillStyle = colour(shown && bit === 1 ? own : "--paper");
    pen.fill();
  });
  const name = shown
    ? `cue ${letter(board.cue)}`
    : board.phase === "feedback"
      ? "how it went"
      : "…";
  write(pen, name, left + (COLUMNS * side) / 2, top + rows * side + 20, 15, "--soft");
}

function drawAnswers(
  pen: CanvasRenderingContext2D,
  board: Board,
  left: number,
  top: number,
  unit: number,
  own: string,
): void {
  for (let action = 0; action < board.card.actions; action += 1) {
    const y = top + action * 1.9 * unit;
    const chosen = board.answer === action;
    pen.beginPath();
    pen.roundRect(left, y, 2.5 * unit, 1.6 * unit, 10);
    pen.fillStyle = colour(chosen ? own : "--paper");
    pen.fill();
    const ink = chosen ? "--paper" : "--soft";
    write(
      pen,
      String(action + 1),
      left + 1.25 * unit,
      y + 0.8 * unit,
      Math.max(unit * 0.6, 14),
      ink,
    );
    if (chosen) {
      const mark = board.right ? "✓" : "✗";
      const paint = board.right ? "--learn" : "--mark";
      write(
        pen,
        mark,
        left + 3.1 * unit,
        y + 0.8 * unit,
        Math.max(unit * 0.8, 18),
        paint,
      );
    }
  }
}

/** The answers so far: full for right, hollow for wrong. */
function drawPast(
  pen: CanvasRenderingContext2D,
  board: Board,
  middle: number,
  y: number,
): void {
  const past = board.answers.slice(-ANSWERS);
  past.forEach((right, index) => {
    const x = middle + (index - (past.length - 1) / 2) * 20;
    pen.beginPath();
    pen.arc(x, y, 6, 0, 2 * Math.PI);
    pen.strokeStyle = pen.fillStyle = colour(right ? "--learn" : "--mark");
    pen.lineWidth = 2.5;
    if (right) {
      pen.fill();
    }
    pen.stroke();
  });
  write(pen, "answers so far: full is right", middle, y + 22, 12.5, "--soft");
}

function write(
  pen: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  size: number,
  paint: string,
): void {
  pen.font = `600 ${String(size)}px system-ui, "DejaVu Sans", sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillStyle = colour(paint);
  pen.fillText(text, x, y);
}
